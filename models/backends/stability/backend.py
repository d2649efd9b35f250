"""The backend: one v1 call or `n` concurrent v2beta calls, and the check of the key.

Source: Stability REST API; `models.py` holds the assumptions about what it does not document.
"""

from collections.abc import Sequence
from typing import override

from models.backends.base import Backend, Capabilities, Model
from models.backends.partial import Partial, collected, together
from models.backends.stability.account import StabilityAccount
from models.backends.stability.edit import StabilityEdit
from models.backends.stability.models import (
    AT_ONCE,
    INPUT_LIMITS,
    V1Model,
    V2BetaModel,
    read_model,
)
from models.backends.stability.wire import StabilityCall, read_v1, read_v2beta, v1_call, v1_price, v2beta_calls
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, InputImage
from models.images.inputs import cover, fit, size_of
from models.settings import Settings
from models.sizes import SeedRule, Size, SizeRule, written


class Stability(StabilityAccount):
    """Stability AI: v2beta's ultra, core and sd3 endpoints, and v1's SDXL engine."""

    @override
    @classmethod
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> Backend:
        """A model that edits, upscales or controls is bound to a class of its own."""
        backend = super().bind(name, settings, clock)
        return StabilityEdit(backend.model, backend.clock) if _is_edit(backend.model) else backend

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._facts = read_model(model.card.facts) if model.card and not _is_edit(model) else None

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
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        match self._facts:
            case V2BetaModel() as model:
                return self._by_v2beta(model, request, deadline)
            case V1Model() as model:
                return self._by_v1(model, request, deadline)
            case None:
                raise self.unknown_model()

    def _by_v2beta(self, model: V2BetaModel, request: ImageRequest, deadline: Deadline) -> ImageResult:
        image, fitted = fit(request.images[0], INPUT_LIMITS) if request.images else (None, ())

        def send(call: StabilityCall) -> Partial:
            return read_v2beta(self.post(call, deadline), sent_seed=call.seed)

        made = collected(together(send, v2beta_calls(model, request, image), at_once=AT_ONCE))
        return self.result(request, made, [*fitted, *_other_shape(model, request, made)])

    def _by_v1(self, model: V1Model, request: ImageRequest, deadline: Deadline) -> ImageResult:
        image, fitted = _cut_to(request.images[0], request.size) if request.images and request.size else (None, ())
        call = v1_call(model, request, image)
        made = read_v1(self.post(call, deadline), sent_seed=call.seed)
        price = v1_price(model, self.price_per_image, steps=request.steps, images=len(made.images))
        return self.result(request, made, fitted, price)


def _is_edit(model: Model) -> bool:
    return bool(model.card and model.card.facts["api"] == "edit")


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
