"""What of a result is kept for equal requests, and whose lease is renewed and given back."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from models.backends.errors import logger
from models.entities import GeneratedImage, ImageResult, Kept, Price
from models.settings import Settings
from models.stages.cache.entries import CachedResult, Neighbour, decoded_neighbours, encoded_neighbours
from models.stages.cache.keeping import CacheKeeping, release, renew
from models.stages.cache.leases import leases_of
from models.stages.cache.note import CacheNote
from models.stages.cache.shelf import Shelf
from models.stages.carried import Carried
from tests.asking import carried
from tests.fakes import FakeClock, image_file
from tests.video_files import mp4

IMAGE = GeneratedImage(image_file(), seed=7)
MADE = ImageResult(images=(IMAGE,), backend="b", model="m", prompt="a fox", notices=("Mine.", "The request's."))
DONE = replace(MADE, images=(replace(IMAGE, data=b"finished", kept=Kept("a.png", "https://cdn/a.png")),))
NOTE = CacheNote(name="entry", model="m", n=1, told=["The request's."])


@pytest.fixture
def keep(settings: Settings, clock: FakeClock) -> Callable[..., ImageResult]:
    """Both stages of one request."""

    def run(made: ImageResult, done: ImageResult, note: CacheNote | None = NOTE) -> ImageResult:
        keeping, both = CacheKeeping(settings, clock), carried(price_per_image=Price(Decimal("0.5"), "USD"))
        if note:
            note.leave(both)
        assert keeping.take(made, both) is made
        return keeping.keep(done, both)

    return run


def test_the_services_images_and_notices_are_kept_with_the_price(
    keep: Callable[..., ImageResult], shelf: Shelf, clock: FakeClock
) -> None:
    assert keep(MADE, DONE) is DONE
    image = replace(IMAGE, kept=DONE.images[0].kept)
    price = Price(Decimal("0.5"), "USD")
    assert CachedResult.decoded(shelf.get("entry") or b"") == CachedResult(
        clock.time, "b", "m", (image,), ("Mine.",), price
    )
    clock.time += 24 * 3600 - 1
    assert shelf.get("entry")
    clock.time += 1
    assert shelf.get("entry") is None


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (MADE, None),
        (replace(MADE, cached=True), NOTE),
        (replace(MADE, model="fallback"), NOTE),
        (replace(MADE, images=(IMAGE, IMAGE)), NOTE),
    ],
)
def test_what_is_no_answer_to_an_equal_request_is_not_kept(
    keep: Callable[..., ImageResult], shelf: Shelf, made: ImageResult, note: CacheNote | None
) -> None:
    assert keep(made, DONE, note) is DONE
    assert shelf.get("entry") is None


def test_a_result_that_no_service_made_is_not_kept(settings: Settings, clock: FakeClock, shelf: Shelf) -> None:
    without = carried()
    NOTE.leave(without)
    assert CacheKeeping(settings, clock).keep(DONE, without) is DONE
    assert shelf.get("entry") is None


def test_a_video_without_an_address_of_its_own_is_told_and_not_kept(
    keep: Callable[..., ImageResult], shelf: Shelf
) -> None:
    video = replace(MADE, images=(GeneratedImage(mp4()),))
    assert keep(video, video).notices == (
        *MADE.notices,
        "The video was not cached: that needs storage with an address, as the service's own ends soon.",
    )
    assert shelf.get("entry") is None


def test_a_prompt_with_a_meaning_becomes_the_last_of_a_hundred_neighbours(
    keep: Callable[..., ImageResult], shelf: Shelf
) -> None:
    keep(MADE, DONE)
    assert shelf.get("near") is None
    shelf.put("near", encoded_neighbours([Neighbour(str(n), "", (1.0,)) for n in range(100)]), 60.0)
    keep(MADE, DONE, NOTE.model_copy(update={"near": "near", "bag": "bag", "vector": [0.5, 0.25]}))
    found = decoded_neighbours(shelf.get("near"))
    assert [other.name for other in found] == [*map(str, range(1, 100)), "entry"]
    assert found[-1] == Neighbour("entry", "bag", (0.5, 0.25))


def noted(*, leads: bool) -> Carried:
    result = carried()
    NOTE.model_copy(update={"leads": leads}).leave(result)
    return result


@pytest.mark.parametrize("leads", [True, False])
def test_only_who_leads_renews_and_gives_back_the_lease(settings: Settings, clock: FakeClock, leads: bool) -> None:
    polled, leases = noted(leads=leads), leases_of(settings, clock)
    renew(settings, polled, clock)
    assert leases.is_free("entry") is not leads
    leases.take("entry", polled.receipt.id, 75.0)
    release(settings, polled, clock)
    assert leases.is_free("entry") is leads


def test_a_polled_lease_lasts_for_two_checks_and_a_half(settings: Settings, clock: FakeClock) -> None:
    renew(settings, noted(leads=True), clock)
    clock.time += 75.0
    assert not leases_of(settings, clock).is_free("entry")
    clock.time += 0.5
    assert leases_of(settings, clock).is_free("entry")


def test_a_request_without_a_note_has_no_lease(settings: Settings, clock: FakeClock) -> None:
    renew(settings, carried(), clock)
    release(settings, carried(), clock)
    assert leases_of(settings, clock).is_free("entry")


def test_a_lease_that_cannot_be_renewed_is_logged(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    logger.addHandler(caplog.handler)
    renew(Settings({}, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path / "file")}), noted(leads=True), clock)
    logger.removeHandler(caplog.handler)
    assert [said.partition(": ")[0] for said in caplog.messages] == ["a lease of the cache could not be renewed"]
