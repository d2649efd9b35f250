"""What a request finds in the cache, and what it is told of it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from models.backends.errors import ConnectionFailed, ServerUnavailable
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, Price
from models.settings import Settings
from models.stages.cache.entries import CachedResult
from models.stages.cache.key import key_of
from models.stages.cache.leases import leases_of
from models.stages.cache.lookup import CacheLookup, resumed
from models.stages.cache.note import CacheNote, dumped
from models.stages.cache.shelf import Shelf
from models.stages.carried import Carried, Following
from tests.asking import carried
from tests.fakes import FakeClock, image_file

REQUEST = ImageRequest(model="m", prompt="A fox", cache="exact", timeout=60.0, notices=("Told.",))
IMAGE = GeneratedImage(image_file(), seed=7)
DAY = 86_400.0


def at(clock: FakeClock, *, polled: bool = False) -> Carried:
    return replace(carried(time=clock.time), polled=polled)


def entry(made: float, price: Price | None = None, *notices: str) -> bytes:
    return CachedResult(made, "b", "m", (IMAGE,), notices, price).encoded()


@pytest.mark.parametrize(
    ("age", "price", "words", "currency"),
    [
        (60.0, Price(Decimal("0.0350"), "CNY"), "made 1 minute ago; 0.035 CNY saved", "CNY"),
        (60.0, Price(Decimal(100), "EUR"), "made 1 minute ago; 100 EUR saved", "EUR"),
        (60.0, None, "made 1 minute ago", "USD"),
        (0.0, None, "made 0 seconds ago", "USD"),
        (-30.0, None, "made 0 seconds ago", "USD"),
    ],
)
def test_a_hit_costs_nothing_and_says_its_age_and_what_it_saved(
    settings: Settings, clock: FakeClock, shelf: Shelf, age: float, price: Price | None, words: str, currency: str
) -> None:
    shelf.put(key_of(REQUEST, settings).exact, entry(clock.time - age, price, "Told.", "Made."), DAY)
    assert CacheLookup(settings, clock)(REQUEST, at(clock)) == ImageResult(
        images=(IMAGE,),
        backend="b",
        model="m",
        prompt="A fox",
        notices=("Told.", "Made.", f"Taken from the cache, {words}."),
        price=Price(Decimal(0), currency),
        cached=True,
    )


@pytest.mark.parametrize(
    ("cache", "kept", "found"),
    [
        ("exact", "exact", "Taken from the cache, made 0 seconds ago."),
        ("exact", "similar", None),
        ("similar", "exact", "Taken from the cache, made 0 seconds ago."),
        ("similar", "similar", "Taken from the cache, made 0 seconds ago for a similar prompt."),
    ],
)
def test_a_similar_prompts_image_is_taken_where_it_is_asked_for(
    settings: Settings, clock: FakeClock, shelf: Shelf, cache: str, kept: str, found: str | None
) -> None:
    asked = replace(REQUEST, cache=cache)
    shelf.put(getattr(key_of(asked, settings), kept), entry(clock.time), DAY)
    outcome = CacheLookup(settings, clock)(asked, at(clock))
    assert (outcome.notices[-1] if isinstance(outcome, ImageResult) else None) == found


@pytest.mark.parametrize(("polled", "seconds"), [(False, 20.0), (True, 75.0)])
def test_who_finds_nothing_leads_and_leaves_a_note(
    settings: Settings, clock: FakeClock, polled: bool, seconds: float
) -> None:
    key, both = key_of(REQUEST, settings), at(clock, polled=polled)
    assert CacheLookup(settings, clock)(REQUEST, both) == REQUEST
    assert CacheNote.of(both) == CacheNote(name=key.exact, model="m", n=1, told=["Told."], leads=True)
    leases = leases_of(settings, clock)
    clock.time += seconds
    assert not leases.is_free(key.exact)
    clock.time += 0.5
    assert leases.is_free(key.exact)


def test_a_polled_request_follows_the_one_that_leads(settings: Settings, clock: FakeClock, shelf: Shelf) -> None:
    mask, image = InputImage(b"mask", "image/png", "m.png"), InputImage(b"image", "image/jpeg", "a.jpg")
    asked, both = replace(REQUEST, images=(image,), mask=mask), at(clock, polled=True)
    leases_of(settings, clock).take(key_of(asked, settings).exact, "other", 60.0)
    assert CacheLookup(settings, clock)(asked, both) == Following(60.0)
    note = CacheNote.of(both)
    assert note
    assert (note.leads, note.followed, note.has_mask) == (False, ["other"], True)
    assert note.inputs == [("image/jpeg", "a.jpg"), ("image/png", "m.png")]
    assert resumed(settings, both, clock) == asked
    clock.time += 60.0
    with pytest.raises(ServerUnavailable, match="its input images are gone"):
        resumed(settings, both, clock)


def test_a_request_without_a_mask_comes_back_without_one(settings: Settings, clock: FakeClock) -> None:
    asked, both = replace(REQUEST, images=(InputImage(b"image", "image/png", "a.png"),)), at(clock, polled=True)
    leases_of(settings, clock).take(key_of(asked, settings).exact, "other", 60.0)
    CacheLookup(settings, clock)(asked, both)
    assert resumed(settings, both, clock) == asked


def test_a_request_that_is_not_in_the_state_cannot_go_on(settings: Settings, clock: FakeClock) -> None:
    with pytest.raises(ServerUnavailable, match="it is not in the state of the job"):
        resumed(settings, carried(), clock)


def followed(clock: FakeClock, *holders: str, polled: bool = True) -> Carried:
    both = at(clock, polled=polled)
    CacheNote(name="e", model="m", n=1, told=[], followed=list(holders), request=dumped(REQUEST)).leave(both)
    return both


@pytest.mark.parametrize(
    ("before", "goes_on"), [((), False), (("a",), False), (("a", "b"), True), (("a", "other"), False)]
)
def test_a_request_that_saw_two_flights_fail_makes_its_image_alone(
    settings: Settings, clock: FakeClock, before: tuple[str, ...], goes_on: bool
) -> None:
    leases_of(settings, clock).take(key_of(REQUEST, settings).exact, "other", 60.0)
    outcome = CacheLookup(settings, clock)(REQUEST, followed(clock, *before))
    assert (outcome == REQUEST) is goes_on


@pytest.mark.parametrize(("waited", "ended"), [(59.5, False), (60.0, True)])
def test_the_time_of_a_request_ends_with_waiting(
    settings: Settings, clock: FakeClock, waited: float, ended: bool
) -> None:
    both = at(clock, polled=True)
    clock.time += waited
    leases_of(settings, clock).take(key_of(REQUEST, settings).exact, "other", 60.0)
    if ended:
        with pytest.raises(ConnectionFailed, match="Waiting for an equal request"):
            CacheLookup(settings, clock)(REQUEST, both)
    else:
        assert CacheLookup(settings, clock)(REQUEST, both) == Following(60.0)


@pytest.mark.parametrize(("waited", "polled", "left"), [(20.0, False, 40.0), (59.5, False, 1.0), (20.0, True, 60.0)])
def test_the_time_that_passed_in_waiting_is_over_for_the_service(
    settings: Settings, clock: FakeClock, waited: float, polled: bool, left: float
) -> None:
    both = followed(clock, "a", polled=polled)
    clock.time += waited
    outcome = CacheLookup(settings, clock)(REQUEST, both)
    assert isinstance(outcome, ImageRequest)
    assert outcome.timeout == left


def test_an_embeddings_address_that_cannot_be_read_is_told_where_meaning_counts(
    settings: Settings, clock: FakeClock
) -> None:
    wrong = replace(settings, values={"embedding_url": "https://host/v1?threshold=2"})
    for cache, told in (("similar", True), ("exact", False)):
        asked = replace(REQUEST, cache=cache)
        outcome = CacheLookup(wrong, clock)(asked, at(clock))
        assert isinstance(outcome, ImageRequest)
        assert any("(embedding_url)" in notice for notice in outcome.notices) is told
