"""Quotas: images and money per minute, day and month, of the account as a whole and of each end user.

A request reserves what it may use before it goes to a service. Its end settles that: what was made is counted, the rest is
given back. A reservation whose end is never seen (the process died, the run was stopped) ends by its lease. Every number
follows from the receipt, so that any process can settle a request that another one began.

The library `limits` was considered for this. Its windows begin with the first hit and its months have 30 days, while these
are those of UTC; a hit is counted even where it is refused; it has neither reservations nor leases, and no
storage in a file. What would be left of it is one INCRBY, so the counting is done by `quota_redis` and `quota_file`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import Protocol
from urllib.parse import quote

import gevent

from models.backends.errors import ImageError, RateLimited, logger
from models.entities import ImageRequest, Price
from models.limits import FIELD, Limits, Period, Quota, account_of
from models.settings import Settings
from models.stages.audit import Receipt
from models.stages.carried import Carried

LEASE = 600.0
"""Seconds by which a reservation outlives its job's deadline: time for the last check, the stages and the host's pauses."""
_MILLIONTHS = 1_000_000  # money is counted in whole millionths of its unit
_LATER = (1.0, 5.0, 30.0, 120.0)  # seconds before further attempts to settle


@dataclass(frozen=True, slots=True)
class Entry:
    """One counter and what a request takes of it: images, or millionths of a currency's unit.

    `most` is the limit, `seconds` the time until the window ends.
    """

    key: str
    amount: int
    most: int
    seconds: float


class Ledger(Protocol):
    """Counters that several processes share. Every method is one atomic step and raises ImageError."""

    def reserve(self, request: str, entries: Sequence[Entry], now: float, until: float) -> Sequence[int]:
        """Reserve every entry until then and return nothing, or reserve none and return what each counter holds.

        An earlier reservation of the same request does not count; it is replaced, or stays where nothing is reserved. Its
        lease never becomes shorter.
        """

    def settle(self, request: str, entries: Sequence[Entry], now: float) -> None:
        """End the reservation of `request` and count the entries as used. A second time it does nothing."""

    def ping(self) -> None:
        """Raises ImageError where nothing can be counted."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The owner's quotas of one account. `where` names the field that holds them."""

    quotas: tuple[Quota, ...]
    account: str
    where: str
    ledger: Ledger

    @classmethod
    def read(cls, settings: Settings) -> "Quotas":
        """Raises BadRequest for limits or an address that cannot be read."""
        return cls(Limits.read(settings).quotas, account_of(settings), settings.where(FIELD), _ledger(settings))

    def entries(self, receipt: Receipt, images: int, price: Price | None, now: float) -> Iterator[tuple[Quota, Entry]]:
        """What `images` at `price` take of each quota. A request counts in the windows in which it began."""
        for limit in self.quotas:
            amount = _money(limit, price) if limit.currency else images
            unit, most = limit.currency or "images", int(limit.amount * (_MILLIONTHS if limit.currency else 1))
            name, ends = window(limit.period, receipt.time)
            user = hashlib.sha256(receipt.user.encode()).hexdigest()[:16] if limit.per_user else ""
            key = f"{quote(self.account, safe='')}:{user}:{unit}:{name}"
            yield limit, Entry(key, amount, most, ends - now)


def _money(limit: Quota, price: Price | None) -> int:
    """Millionths. Of an unknown price one is taken: such a request needs something left, and is settled later."""
    if price is None:
        return 1
    if price.currency != limit.currency:
        return 0
    return int((price.amount * _MILLIONTHS).to_integral_value(ROUND_UP))


def window(period: Period, at: float) -> tuple[str, float]:
    """The name of the window of UTC that holds an epoch second, and the epoch second of its end."""
    moment = datetime.fromtimestamp(at, UTC)
    match period:
        case "minute":
            begin = moment.replace(second=0, microsecond=0)
            return f"{begin:%Y-%m-%dT%H:%M}", (begin + timedelta(minutes=1)).timestamp()
        case "day":
            begin = moment.replace(hour=0, minute=0, second=0, microsecond=0)
            return f"{begin:%Y-%m-%d}", (begin + timedelta(days=1)).timestamp()
        case "month":
            begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            return f"{begin:%Y-%m}", (begin + timedelta(days=32)).replace(day=1).timestamp()


def _ledger(settings: Settings) -> Ledger:
    if url := settings.text("redis_url"):
        from models.redis_client import RedisClient  # noqa: PLC0415 -- only one of the two ledgers is needed
        from models.stages.quota_redis import RedisLedger  # noqa: PLC0415

        return RedisLedger(RedisClient(url, settings.where("redis_url"), "The quotas could not be counted"))
    from models.stages.quota_file import FileLedger  # noqa: PLC0415

    return FileLedger(settings.state_folder / "quotas.sqlite3", settings.where("redis_url"))


def check_quotas(settings: Settings) -> None:
    """Try the place of the counters when a form is saved. Raises ImageError."""
    Quotas.read(settings).ledger.ping()


@dataclass(frozen=True, slots=True)
class QuotaReservation:
    """The stage: reserve or refuse. Where nothing can be counted, the request is refused: it would be spent unseen."""

    quotas: Quotas

    def __call__(self, request: ImageRequest, carried: Carried) -> ImageRequest:
        receipt, each = carried.receipt, carried.price_per_image
        price = each and Price(each.amount * request.n, each.currency)
        taken = [pair for pair in self.quotas.entries(receipt, request.n, price, receipt.time) if pair[1].amount]
        if not taken:
            return request
        until = receipt.time + request.timeout + LEASE
        held = self.quotas.ledger.reserve(receipt.id, [entry for _, entry in taken], receipt.time, until)
        over = [
            (limit, entry, count)
            for (limit, entry), count in zip(taken, held, strict=False)
            if count + entry.amount > entry.most
        ]
        if over:  # the window that ends last tells when it is worth another try
            raise self._refusal(receipt, *max(over, key=lambda found: found[1].seconds))
        return request

    def _refusal(self, receipt: Receipt, limit: Quota, entry: Entry, held: int) -> RateLimited:
        whose = "Your quota" if limit.per_user else "The quota"
        left = _shown(limit, max(0, entry.most - held))
        asked = "" if entry.amount == 1 and limit.currency else f" and this request takes {_shown(limit, entry.amount)}"
        if entry.amount > entry.most:
            advice = "Request less at once"
        else:
            renewal = datetime.fromtimestamp(receipt.time + entry.seconds, UTC)
            advice = f"It renews at {renewal:%Y-%m-%d %H:%M} UTC, in {_duration(entry.seconds)}"
        return RateLimited(
            f"{whose} `{limit}` does not allow this request",
            f"{left} of {_shown(limit, entry.most)} are left{asked}",
            f"{advice}; the owner can change {self.quotas.where}",
        )


def _shown(limit: Quota, amount: int) -> str:
    if not limit.currency:
        return f"{amount} image{'' if amount == 1 else 's'}"
    return f"{(Decimal(amount) / _MILLIONTHS).normalize():f} {limit.currency}"


def _duration(seconds: float) -> str:
    minutes = max(1, -int(-seconds // 60))
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


@dataclass(frozen=True, slots=True)
class QuotaSettlement:
    """The observer: what was made is counted, for failures too that made images; the rest is given back.

    It is done before the answer goes out, so that no process that dies later loses the count. Where the counters cannot
    be reached, it is tried again beside the requests, and logged if it stays undone.
    """

    quotas: Quotas

    def __call__(self, receipt: Receipt) -> None:
        try:
            self._settle(receipt)
        except Exception as error:  # noqa: BLE001 -- an observer never raises
            if _made(receipt):
                gevent.spawn(self._later, receipt)
            else:
                logger.warning("the quota reserved for request %s is held until its lease ends: %s", receipt.id, error)

    def _settle(self, receipt: Receipt) -> None:
        made = _made(receipt)
        price = _price(receipt) if made else None
        now = receipt.time + (receipt.seconds or 0.0)
        pairs = self.quotas.entries(receipt, receipt.n if made else 0, price or Price(Decimal(0), ""), now)
        self.quotas.ledger.settle(receipt.id, [entry for _, entry in pairs], now)

    def _later(self, receipt: Receipt) -> None:
        for pause in _LATER:
            gevent.sleep(pause)
            try:
                self._settle(receipt)
            except ImageError:
                continue
            return
        logger.error("the images of request %s could not be counted in the quotas", receipt.id)


def _made(receipt: Receipt) -> bool:
    """Whether a service made images for this request, delivered or not."""
    return receipt.answered_by is not None and not receipt.cached


def _price(receipt: Receipt) -> Price | None:
    return Price(Decimal(receipt.price), receipt.currency or "") if receipt.price is not None else None
