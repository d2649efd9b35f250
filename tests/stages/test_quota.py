"""Quotas, counted in a file and in a real Redis: reserved before, settled after, given back, never exceeded."""

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import gevent
import pytest

from models import redis_client
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.entities import GeneratedImage, ImageRequest, ImageResult, Price
from models.limits import Period, Quota
from models.pipeline import Asked, Call, Waiting
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages import before_service, for_next_model, quota
from models.stages.audit import Receipt
from models.stages.quota import LEASE, QuotaReservation, Quotas, QuotaSettlement, check_quotas, window
from tests.asking import carried
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.redis_server import redis_server
from tests.servers.scripted import free_port
from tests.stubs import StubBackend

NOON = 1_795_780_800.0
"""2026-11-27, 12:00 UTC."""
FOX = Conversation("a red fox")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server(password=MARKER_KEY) as url:
        yield url


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment that says where to count; every test has counters of its own."""
    if request.param == "file":
        return {"IMAGE_GENERATION_STATE_DIR": str(tmp_path)}
    return {
        "IMAGE_GENERATION_REDIS_URL": request.getfixturevalue("redis_url"),
        "IMAGE_GENERATION_X_API_KEY": str(tmp_path),
    }


class Account:
    """One account with quotas; `time` moves by hand."""

    def __init__(self, limits: str, place: dict[str, str], time: float = NOON) -> None:
        self.quotas = Quotas.read(Settings({"limits": limits}, place))
        self.time = time

    def reserve(
        self,
        n: int = 1,
        *,
        user: str = "ann",
        each: str | None = None,
        timeout: float = 60.0,
        again: Receipt | None = None,
    ) -> Receipt:
        """The receipt of a request that may go on. Raises RateLimited."""
        price = Price(Decimal(each), "USD") if each is not None else None
        facts = carried(price_per_image=price, time=self.time, user=user)
        facts = replace(facts, receipt=again or replace(facts.receipt, n=n))
        QuotaReservation(self.quotas)(ImageRequest(model="m", prompt="a fox", n=n, timeout=timeout), facts)
        return facts.receipt

    def end(self, receipt: Receipt) -> None:
        QuotaSettlement(self.quotas)(receipt)

    def make(self, n: int = 1, *, user: str = "ann", each: str | None = None, paid: str | None = None) -> None:
        receipt = self.reserve(n, user=user, each=each)
        price = Price(Decimal(paid if paid is not None else each or "0"), "USD")
        self.end(receipt.succeeded(result_of(n, price), 2.0))

    def refusal(self, n: int = 1, *, user: str = "ann", each: str | None = None) -> str:
        with pytest.raises(RateLimited) as refused:
            self.reserve(n, user=user, each=each)
        return str(refused.value)


def result_of(n: int, price: Price | None = None, *, cached: bool = False) -> ImageResult:
    images = (GeneratedImage(image_file()),) * n
    return ImageResult(images=images, backend="b", model="m", prompt="a fox", price=price, cached=cached)


@pytest.mark.parametrize(
    ("period", "at", "name", "seconds"),
    [
        ("minute", NOON + 59.5, "2026-11-27T12:00", 0.5),
        ("day", NOON, "2026-11-27", 12 * 3600),
        ("month", NOON, "2026-11", 3.5 * 86400),
        ("month", 1_798_761_599.0, "2026-12", 1),
    ],
)
def test_windows_are_minutes_days_and_months_of_utc(period: Period, at: float, name: str, seconds: float) -> None:
    assert window(period, at) == (name, at + seconds)


def test_the_quota_is_used_up_to_the_last_image_and_renews(place: dict[str, str]) -> None:
    account = Account("5/day, 3/minute", place)
    account.make(3)
    assert account.refusal() == (
        "The quota `3/minute` does not allow this request: 0 images of 3 images are left and this request takes 1 "
        "image. It renews at 2026-11-27 12:01 UTC, in 1 min; the owner can change “Limits” (limits) in the "
        "provider's settings."
    )
    account.time += 60
    account.make(2)
    said = account.refusal()
    assert "The quota `5/day` does not allow" in said
    assert "It renews at 2026-11-28 00:00 UTC, in 11 h 59 min" in said
    account.time += 12 * 3600
    account.make(3)


def test_a_request_for_more_than_the_whole_quota_is_told_so(place: dict[str, str]) -> None:
    said = Account("3/minute", place).refusal(4)
    assert "3 images of 3 images are left and this request takes 4 images. Request less at once;" in said


def test_each_end_user_has_a_quota(place: dict[str, str]) -> None:
    account = Account("user 2/day, 3/day", place)
    account.make(2, user="ann")
    assert account.refusal(user="ann").startswith("Your quota `user 2/day` does not allow this request: 0 images")
    account.make(1, user="ben")
    assert account.refusal(user="ben").startswith("The quota `3/day`")


def test_a_reservation_counts_until_its_request_ends(place: dict[str, str]) -> None:
    account = Account("2/day", place)
    first, second = account.reserve(), account.reserve()
    assert "0 images of 2 images are left" in account.refusal()
    account.end(first.failed(ServerUnavailable("Painting failed"), NOON + 1, handed_over=True))
    account.end(second.succeeded(result_of(1), 1.0))
    account.make()
    account.refusal()


def test_fewer_images_than_reserved_give_the_rest_back(place: dict[str, str]) -> None:
    account = Account("4/day", place)
    account.end(account.reserve(4).succeeded(result_of(1), 1.0))
    account.make(3)
    account.refusal()


def test_a_second_reservation_of_a_request_replaces_the_first_or_leaves_it(place: dict[str, str]) -> None:
    account = Account("3/day", place)
    receipt = account.reserve(2)
    account.reserve(3, again=receipt)
    account.refusal()
    with pytest.raises(RateLimited):
        account.reserve(4, again=receipt)
    account.refusal()
    account.end(receipt.succeeded(result_of(1), 1.0))
    account.make(2)


def test_a_second_reservation_never_shortens_the_lease(place: dict[str, str]) -> None:
    account = Account("1/day", place)
    receipt = account.reserve(timeout=3000)
    account.reserve(timeout=60, again=receipt)
    account.time += 3000
    account.refusal()


def test_a_further_model_reserves_by_its_own_price(place: dict[str, str]) -> None:
    settings = Settings({"limits": "1 USD/day"}, place)
    cheap, dear = (carried(price_per_image=Price(Decimal(price), "USD"), time=NOON, id="r") for price in ("0.5", "1.5"))
    request = ImageRequest(model="m", prompt="a fox")
    for stage in before_service(settings):
        stage(request, cheap)
    *_, reservation = for_next_model(settings)
    with pytest.raises(RateLimited, match=r"this request takes 1\.5 USD"):
        reservation(request, dear)


def test_a_reservation_whose_end_is_never_seen_ends_by_its_lease(place: dict[str, str]) -> None:
    account = Account("1/day", place)
    account.reserve(timeout=600)
    account.time += 600 + LEASE - 1
    account.refusal()
    account.time += 2
    account.make()
    account.refusal()


def test_an_end_after_the_lease_still_counts(place: dict[str, str]) -> None:
    account = Account("2/day", place)
    late = account.reserve(timeout=60)
    account.time += 60 + LEASE + 1
    account.make()
    account.end(late.succeeded(result_of(1), 700.0))
    account.refusal()


def test_an_end_that_is_told_twice_counts_once(place: dict[str, str]) -> None:
    account = Account("2/day", place)
    told = account.reserve().succeeded(result_of(1), 1.0)
    account.end(told)
    account.end(told)
    account.make()


def test_a_cached_answer_is_given_back(place: dict[str, str]) -> None:
    account = Account("1/day", place)
    account.end(account.reserve().succeeded(result_of(1, cached=True), 1.0))
    account.make()


def test_images_that_were_made_and_refused_are_counted_with_their_price(place: dict[str, str]) -> None:
    account = Account("2/day, 1 USD/day", place)
    error = BadRequest("The image was refused by moderation")
    error.made = result_of(1, Price(Decimal("0.9"), "USD"))
    account.end(account.reserve(each="0.9").failed(error, NOON + 1, handed_over=True))
    assert "0.1 USD of 1 USD are left and this request takes 0.9 USD" in account.refusal(each="0.9")


def test_money_is_reserved_by_the_card_and_settled_by_the_receipt(place: dict[str, str]) -> None:
    account = Account("user 1 USD/day", place)
    account.make(2, each="0.3", paid="0.25")
    account.make(2, each="0.3", paid="0.25")
    account.make(1, each="0.3", paid="0.2999999")
    said = account.refusal(1, each="0.3")
    assert "0.2 USD of 1 USD are left and this request takes 0.3 USD" in said


def test_an_unknown_price_needs_something_left_and_is_counted_afterwards(place: dict[str, str]) -> None:
    account = Account("1 USD/day", place)
    account.make(paid="1.2")
    assert "does not allow this request: 0 USD of 1 USD are left. It renews" in account.refusal()
    account.make(each="0")  # a free model goes on


def test_money_of_another_currency_is_not_counted(place: dict[str, str]) -> None:
    account = Account("1 CNY/day", place)
    account.make(3, each="5")
    account.make(3, each="5")


def test_accounts_do_not_share_their_counts_and_a_new_limit_keeps_them(place: dict[str, str]) -> None:
    Account("2/day, account one", place).make(2)
    Account("2/day, account two", place).make(2)
    assert "1 image of 3 images are left" in Account("3/day, account One", place).refusal(2)


def test_concurrent_requests_of_one_process_never_exceed_it(place: dict[str, str]) -> None:
    account = Account("50/day", place)

    def ask() -> int:
        try:
            account.make()
        except RateLimited:
            return 0
        return 1

    asked = [gevent.spawn(ask) for _ in range(80)]
    assert sum(greenlet.get() for greenlet in asked) == 50


@pytest.fixture
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger = logging.getLogger("image_generation")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


@pytest.mark.usefixtures("_heard")
def test_without_redis_requests_are_refused_and_a_count_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quota, "_LATER", (0.0, 0.0))
    account = Account("5/day", {"IMAGE_GENERATION_REDIS_URL": f"redis://:{MARKER_KEY}@127.0.0.1:{free_port()}/0"})
    with pytest.raises(
        ConnectionFailed, match=r"^The quotas could not be counted: Redis says: .*IMAGE_GENERATION_REDIS"
    ):
        account.reserve()
    receipt = Receipt(time=NOON, user="ann", model="m", backend="b", n=1)
    account.end(receipt.failed(ServerUnavailable("x"), NOON, handed_over=True))
    assert "is held until its lease ends" in caplog.text
    account.end(receipt.succeeded(result_of(1), 1.0))
    gevent.sleep(0.2)
    assert f"the images of request {receipt.id} could not be counted" in caplog.text
    assert MARKER_KEY not in caplog.text


def test_a_count_that_failed_is_repeated_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quota, "_LATER", (60.0,))
    account = Account("5/day", {"IMAGE_GENERATION_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    account.end(Receipt(time=NOON, user="ann", model="m", backend="b", n=1).succeeded(result_of(1), 1.0))
    gevent.sleep(0.05)
    assert "could not be counted" not in caplog.text


def test_a_count_that_failed_is_made_up_for(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_LATER", (0.0,))
    account = Account("1/day", place)
    told = account.reserve().succeeded(result_of(1), 1.0)
    failures = [ConnectionFailed("Redis")]
    ledger = account.quotas.ledger

    def settle(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        type(ledger).settle(ledger, *arguments)  # type: ignore[arg-type]

    class Broken:
        reserve, ping = ledger.reserve, ledger.ping

        def settle(self, *arguments: object) -> None:
            settle(*arguments)

    account.quotas = replace(account.quotas, ledger=Broken())
    account.end(told)
    gevent.sleep(0.1)
    account.time += 60 + LEASE + 1  # no reservation holds it any more
    account.refusal()


def test_saving_the_form_tries_the_place_of_the_counters(redis_url: str, tmp_path: Path) -> None:
    def fault(url: str = "", folder: str = "") -> ImageError:
        with pytest.raises(ImageError) as refused:
            check_quotas(Settings({"limits": "5/day", "redis_url": url}, {"IMAGE_GENERATION_STATE_DIR": folder}))
        assert MARKER_KEY not in str(refused.value)
        return refused.value

    check_quotas(Settings({"limits": "5/day", "redis_url": redis_url}, {}))
    check_quotas(Settings({"limits": "5/day"}, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path / "new")}))
    wrong = redis_url.replace(MARKER_KEY, "wrong")
    assert isinstance(fault(wrong), AuthorizationFailed)
    assert isinstance(fault("http://host"), BadRequest)
    assert isinstance(fault(folder="/proc/nowhere"), ServerUnavailable)
    (tmp_path / "quotas.sqlite3").write_text("not a database, but long enough to be looked at as one" * 40)
    assert "is not a database" in str(fault(folder=str(tmp_path)))


def test_a_request_over_the_quota_never_reaches_the_service(place: dict[str, str], clock: FakeClock) -> None:
    settings, backend = Settings({"limits": "1/day"}, place), StubBackend(clock)
    Call(backend, settings, "ann").generate(Asked(FOX, {}))
    with pytest.raises(RateLimited):
        Call(backend, settings, "ann").generate(Asked(FOX, {}))
    assert len(backend.asked) == 1


def test_a_polled_job_is_settled_by_the_call_that_sees_its_end(place: dict[str, str], clock: FakeClock) -> None:
    form = {"limits": "2/day"}
    for name, value in place.items():
        form[name.removeprefix("IMAGE_GENERATION_").lower()] = value
    settings = Settings(form, place)
    started = replace(Call.of("preview", form, "ann", clock), settings=settings).start(
        Asked(FOX, {"simulate_seconds": 5, "n": 2})
    )
    assert isinstance(started, Waiting)
    with pytest.raises(RateLimited):
        replace(Call.of("preview", form, "ann", clock), settings=settings).generate(Asked(FOX, {}))
    clock.sleep(5)
    replace(Call.of("preview", form, "ann", clock), settings=settings).check(started.state)
    clock.sleep(5 + LEASE + 600)
    with pytest.raises(RateLimited, match="0 images of 2 images are left"):
        replace(Call.of("preview", form, "ann", clock), settings=settings).generate(Asked(FOX, {}))


def test_a_silent_redis_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(4)
        account = Account("5/day", {"IMAGE_GENERATION_REDIS_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
        asked = gevent.spawn(account.quotas.ledger.ping)
        gevent.sleep(0)
        held_up = 0.0
        while not asked.ready():
            before = time.monotonic()
            gevent.sleep(0.01)
            held_up = max(held_up, time.monotonic() - before)
        with pytest.raises(ConnectionFailed):
            asked.get()
    assert held_up < 0.2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "1 min"),
        (60.0, "1 min"),
        (60.5, "2 min"),
        (3599.0, "1 h 0 min"),
        (3540.0, "59 min"),
        (3600.0, "1 h 0 min"),
        (3661.0, "1 h 2 min"),
        (86_340.0, "23 h 59 min"),
        (86_400.0, "1 d 0 h"),
        (180_000.0, "2 d 2 h"),
    ],
)
def test_a_duration_is_told_in_whole_minutes_that_are_enough(seconds: float, words: str) -> None:
    assert quota._duration(seconds) == words


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [(0, "", "0 images"), (1, "", "1 image"), (2, "", "2 images"), (1_500_000, "USD", "1.5 USD"), (1, "USD", "0.000001 USD"), (100_000_000, "USD", "100 USD")],
)  # fmt: skip
def test_amounts_are_told_in_images_or_money(amount: int, currency: str, words: str) -> None:
    assert quota._shown(Quota(Decimal(1), "day", currency), amount) == words


@pytest.mark.parametrize(
    ("price", "millionths"),
    [
        (None, 1),
        (Price(Decimal("0.04"), "USD"), 40_000),
        (Price(Decimal("0.0000001"), "USD"), 1),
        (Price(Decimal("0.04"), "CNY"), 0),
        (Price(Decimal(0), "USD"), 0),
    ],
)
def test_money_is_counted_in_whole_millionths_rounded_up(price: Price | None, millionths: int) -> None:
    assert quota._money(Quota(Decimal(1), "day", "USD"), price) == millionths


@pytest.mark.parametrize(
    ("period", "name", "ends"),
    [
        ("minute", "2026-11-27T12:00", "2026-11-27T12:01:00"),
        ("day", "2026-11-27", "2026-11-28T00:00:00"),
        ("month", "2026-11", "2026-12-01T00:00:00"),
    ],
)
def test_a_window_has_a_name_and_an_end(period: Period, name: str, ends: str) -> None:
    for at in (NOON, NOON + 0.5, NOON + 59.999):
        assert window(period, at) == (name, datetime.fromisoformat(f"{ends}+00:00").timestamp())


def test_the_last_second_of_a_month_of_31_days_ends_with_it() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert window("month", at) == ("2026-01", datetime(2026, 2, 1, tzinfo=UTC).timestamp())
