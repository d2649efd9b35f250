"""The backend: one v1 call or `n` concurrent v2beta calls, and the check of the key.

Source: Stability REST API; `models.py` holds the assumptions about what it does not document.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, override

from pydantic import BaseModel

from models.backends.base import PROBE_SECONDS, Backend, Capabilities, Model
from models.backends.errors import BadRequest, ConnectionFailed, RateLimited, ServerUnavailable
from models.backends.http import CLIENT_NAME, CLIENT_VERSION
from models.backends.partial import Partial, collected, together
from models.backends.refusals import RefusalTable
from models.backends.reply import Reply, parse
from models.backends.stability.models import (
    AT_ONCE,
    BASE_URL,
    INPUT_LIMITS,
    LOW_BALANCE,
    READ_TIMEOUT,
    RETRIES,
    V1Model,
    V2BetaModel,
    read_model,
)
from models.backends.stability.wire import ATTEMPT, StabilityCall, read_v1, read_v2beta, v1_call, v1_price, v2beta_calls
from models.catalog import cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, InputImage
from models.images.inputs import cover, fit, size_of
from models.sizes import SeedRule, Size, SizeRule, written


class Balance(BaseModel):
    credits: float


class Stability(Backend):
    """Stability AI: v2beta's ultra, core and sd3 endpoints, and v1's SDXL engine."""

    name: ClassVar[str] = "stability"
    title: ClassVar[str] = "Stability AI"
    prefix: ClassVar[str] = "stability"
    required: ClassVar[tuple[str, ...]] = ("api_key",)
    home: ClassVar[str] = BASE_URL
    refusals: ClassVar[RefusalTable] = RefusalTable.beside(__file__)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._facts = read_model(model.card.facts) if model.card else None

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self._facts.images if self._facts else 0)

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        image = size_of(request.images[0]) if request.images else None
        return self._facts.sizes_beside(image) if self._facts else None

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return self._facts.seeds if self._facts else None

    @override
    def headers(self) -> Mapping[str, str]:
        return {
            "Accept": "application/json",
            "stability-client-id": CLIENT_NAME,
            "stability-client-version": CLIENT_VERSION,
        }

    @override
    def check_access(self) -> Sequence[str]:
        if self._facts is None:
            raise self._unknown_model()
        attempt = "Checking the Stability AI key"
        try:
            deadline = self.within(PROBE_SECONDS)
            reply = self.service.request("GET", "/v1/user/balance", attempt=attempt, deadline=deadline)
            credits_left = parse(reply, Balance, attempt=attempt).credits
        except (RateLimited, ServerUnavailable, ConnectionFailed) as error:
            attempt = "The Stability AI key could not be checked"
            step = f"The key may be valid. {error.next_step}"
            raise type(error)(attempt, error.said, step, transient=error.transient) from None
        except BadRequest as error:
            field = self.model.access.where("base_url")
            raise BadRequest(error.attempted, error.said, f"Check {field}, or empty it to use {BASE_URL}") from None
        low = f"Stability AI: {credits_left:.4g} credits are left, less than one image of stable-image-core costs."
        return [low] if credits_left < LOW_BALANCE else []

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        match self._facts:
            case V2BetaModel() as model:
                return self._by_v2beta(model, request, deadline)
            case V1Model() as model:
                return self._by_v1(model, request, deadline)
            case None:
                raise self._unknown_model()

    def _by_v2beta(self, model: V2BetaModel, request: ImageRequest, deadline: Deadline) -> ImageResult:
        image, fitted = fit(request.images[0], INPUT_LIMITS) if request.images else (None, ())

        def send(call: StabilityCall) -> Partial:
            return read_v2beta(self._post(call, deadline), sent_seed=call.seed)

        made = collected(together(send, v2beta_calls(model, request, image), at_once=AT_ONCE))
        return self.result(request, made, [*fitted, *_other_shape(model, request, made)])

    def _by_v1(self, model: V1Model, request: ImageRequest, deadline: Deadline) -> ImageResult:
        image, fitted = _cut_to(request.images[0], request.size) if request.images and request.size else (None, ())
        call = v1_call(model, request, image)
        made = read_v1(self._post(call, deadline), sent_seed=call.seed)
        price = v1_price(model, self.price_per_image, steps=request.steps, images=len(made.images))
        return self.result(request, made, fitted, price)

    def _unknown_model(self) -> BadRequest:
        known = [card.model for card in cards().values() if card.backend == self.name]
        return BadRequest(
            f"{self.title} has no model {self.model.remote!r}",
            next_step=f"Set {self.model.access.where('remote_model')} to one of {', '.join(known)}",
        )

    def _post(self, call: StabilityCall, deadline: Deadline) -> Reply:
        return self.service.request(
            "POST",
            call.path,
            attempt=ATTEMPT,
            deadline=deadline,
            json=call.json,
            form=call.form,
            read_timeout=READ_TIMEOUT,
            retries=RETRIES,
        )


def _cut_to(image: InputImage, size: Size) -> tuple[InputImage, tuple[str, ...]]:
    """The image in exactly `size`: scaled to cover it and cropped to the centre, with a notice. Raises BadRequest."""
    before = size_of(image)
    if before == size:
        return fit(image, INPUT_LIMITS)
    notice = f"The input image was cropped and scaled from {written(before)} to {written(size)}."
    return cover(image, size), (notice,)


def _other_shape(model: V2BetaModel, request: ImageRequest, made: Partial) -> Sequence[str]:
    if not (request.size and made.images):
        return ()
    size = made.images[0].size
    asked, came = model.ratios.nearest_ratio(request.size), model.ratios.nearest_ratio(size)
    return () if asked == came else (f"The aspect ratio {asked} was requested; the image is {written(size)}.",)
