"""The backend: from a request to one v1 call or `n` v2beta calls, and the balance probe.

Source: Stability REST API; `facts.py` holds what the vendor's documentation leaves open.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from pydantic import BaseModel

from models.backends.base import Backend, Capabilities, Model
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.http import CLIENT_NAME, CLIENT_VERSION, FormField, Retries, Service, bearer_auth, split_userinfo
from models.backends.reply import Reply, parse
from models.backends.stability import v1, v2beta
from models.backends.stability.facts import (
    BACK_OFF,
    BASE_URL,
    LOCKOUT,
    LOW_BALANCE,
    READ_TIMEOUT,
    V1,
    Facts,
    V2Beta,
    read_facts,
)
from models.backends.stability.outcome import ATTEMPT, Picture, settle
from models.backends.stability.refusals import explain
from models.backends.stability.uploads import as_sized_upload, as_upload
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import size_of
from models.parameters import RULES, refused

_RETRIES = Retries(delays=BACK_OFF, longest=LOCKOUT)
_PROBE_SECONDS = 20.0


class Send(Protocol):
    """`Service.request` without what is the same for every call of one request."""

    def __call__(
        self, path: str, *, json: Mapping[str, object] | None = None, form: Mapping[str, FormField] | None = None
    ) -> Reply: ...


class Balance(BaseModel):
    """GET /v1/user/balance."""

    credits: float


class Stability(Backend):
    """Stability AI: v2beta's ultra, core and sd3 endpoints, and v1's SDXL engine."""

    name = "stability"
    title = "Stability AI"
    prefix = "stability"
    required = ("api_key",)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._facts: Facts | None = read_facts(model.card.facts) if model.card else None

    @property
    def capabilities(self) -> Capabilities:
        match self._facts:
            case V2Beta(image_to_image="no") | None:
                return Capabilities()
            case _:
                return Capabilities(images=1)

    def invoke(self, request: ImageRequest) -> ImageResult:
        self.require_access()
        facts = self._known_facts()
        self.check_inputs(request)
        seed, notices = _first_seed(request, facts.max_seed)
        send = partial(
            self._service().request,
            "POST",
            attempt=ATTEMPT,
            deadline=self.deadline(request),
            read_timeout=READ_TIMEOUT,
            retries=_RETRIES,
        )
        match facts:
            case V2Beta():
                return self._by_v2beta(facts, request, send, seed, notices)
            case V1():
                return self._by_v1(facts, request, send, seed, notices)

    def check_access(self) -> Sequence[str]:
        self.require_access()
        self._known_facts()
        attempt = "Checking the Stability AI key"
        deadline = Deadline.after(self.clock, _PROBE_SECONDS)
        try:
            reply = self._service().request(
                "GET", "/v1/user/balance", attempt=attempt, deadline=deadline, read_timeout=10.0
            )
            credits_left = parse(reply, Balance, attempt=attempt).credits
        except (RateLimited, ServerUnavailable, ConnectionFailed) as error:
            raise _could_not_tell(error) from None
        except BadRequest as error:
            field = self.model.access.field("base_url")
            raise BadRequest(error.attempted, error.said, f"Check `{field}`, or empty it to use {BASE_URL}") from None
        return [_low_balance(credits_left)] if credits_left < LOW_BALANCE else []

    def _by_v2beta(
        self, facts: V2Beta, request: ImageRequest, send: Send, seed: int, notices: list[str]
    ) -> ImageResult:
        image, fitted = as_upload(request.images[0]) if request.images else (None, ())
        seeds = _seeds(seed, request.n, facts.max_seed)
        calls = [v2beta.build(facts, request, seed=each, image=image) for each in seeds]
        pictures, ended_by = _one_by_one(facts, calls, send)
        made = settle(pictures, ended_by)
        missing = made.notices(request.n)
        shaped = v2beta.shape_notices(request, calls[0], made.images[0])
        return self.result(request, made.images, [*notices, *fitted, *shaped, *missing])

    def _by_v1(self, facts: V1, request: ImageRequest, send: Send, seed: int, notices: list[str]) -> ImageResult:
        given = request.images[0] if request.images else None
        size = v1.size_for(request, size_of(given) if given else None)
        image, fitted = as_sized_upload(given, size) if given else (None, ())
        call = v1.build(request, seed=seed, size=size, image=image)
        reply = send(f"/v1/generation/{facts.engine}/{call.action}", json=call.json, form=call.form)
        made = settle(v1.read(reply, sent_seed=seed))
        missing = made.notices(request.n)
        snapped = v1.size_notices(request, size)
        price = v1.price(facts, self.price_per_image, steps=request.steps, images=len(made.images))
        return self.result(request, made.images, [*notices, *fitted, *snapped, *missing], price)

    def _known_facts(self) -> Facts:
        if self._facts is None:
            raise BadRequest(
                f"Stability AI has no model {self.model.remote!r}",
                next_step=f"Set `remote_model` {self.model.access.place} to one of {', '.join(self.known_models())}",
            )
        return self._facts

    def _service(self) -> Service:
        access = self.model.access
        return Service(
            name=self.title,
            base_url=split_userinfo(access.base_url or BASE_URL)[0],
            clock=self.clock,
            settings=f"`{access.field('base_url')}` {access.place}",
            headers={
                **bearer_auth(access.api_key),
                "Accept": "application/json",
                "stability-client-id": CLIENT_NAME,
                "stability-client-version": CLIENT_VERSION,
            },
            secrets=access.secrets,
            explain=partial(explain, access=access),
        )


def _one_by_one(facts: V2Beta, calls: Iterable[v2beta.Call], send: Send) -> tuple[list[Picture], ImageError | None]:
    """Call by call, until one fails: the images before it are paid for and kept."""
    pictures: list[Picture] = []
    for call in calls:
        try:
            reply = send(facts.path, form=call.parts())
            pictures.append(v2beta.read(reply, sent_seed=call.form.seed))
        except ImageError as error:
            return pictures, error
    return pictures, None


def _first_seed(request: ImageRequest, max_seed: int) -> tuple[int, list[str]]:
    """The seed to send: the asked one, else one drawn here, so that it is known whatever the answer says."""
    if request.seed is not None and not 0 <= request.seed <= max_seed:
        raise refused(RULES["seed"], request.seed, f"a number from 0 to {max_seed}")
    seed = request.seed or secrets.randbelow(max_seed) + 1
    if request.seed == 0:
        return seed, [f"Seed 0 means random to Stability AI; {seed} was used."]
    return seed, []


def _seeds(first: int, count: int, max_seed: int) -> Iterator[int]:
    """`first` and its successors; after the largest comes 1, because 0 would be random."""
    return ((first - 1 + offset) % max_seed + 1 for offset in range(count))


def _could_not_tell(error: ImageError) -> ImageError:
    return type(error)(
        "Whether the Stability AI key is valid could not be told",
        error.said,
        f"Nothing says that the key is wrong. {error.next_step}",
        transient=error.transient,
    )


def _low_balance(credits_left: float) -> str:
    return f"Stability AI: {credits_left:.4g} credits are left, less than one image of stable-image-core costs."
