"""From a request to the calls that make its images: pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from models.backends.http import FormField
from models.backends.stability.models import DEFAULT_STRENGTH, V1Model, V2BetaModel
from models.backends.stability.wire import GenerateForm, ImageToImage, TextPrompt, TextToImage
from models.entities import ImageRequest, InputImage, Price


@dataclass(frozen=True, slots=True)
class StabilityCall:
    """One POST, ready to send: `json`, or `form` beside an image and for every call of v2beta."""

    path: str
    seed: int
    json: Mapping[str, object] | None = None
    form: Mapping[str, FormField] | None = None


def v2beta_calls(model: V2BetaModel, request: ImageRequest, image: InputImage | None) -> list[StabilityCall]:
    """One call for each image; `image` is the input image, already within the service's limits."""
    form = GenerateForm(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        model=model.model,
        mode="image-to-image" if image and model.image_to_image == "mode" else None,
        # None leaves the shape to the service: its default is 1:1, and `mode` endpoints keep that of the image.
        aspect_ratio=model.ratios.nearest_ratio(request.size) if request.size else None,
        strength=_strength(request) if image else None,
        cfg_scale=request.cfg_scale,
        style_preset=request.style_preset,
        seed=0,
        output_format=_output_format(request),
    )
    return [
        StabilityCall(model.path, seed, form=form.model_copy(update={"seed": seed}).parts(image))
        for seed in request.seeds
    ]


def v1_call(model: V1Model, request: ImageRequest, image: InputImage | None) -> StabilityCall:
    """The one call of a request; `image` is the input image, already in the request's size."""
    path, seed = f"/v1/generation/{model.engine}", request.seeds[0]
    if image is None:
        width, height = request.size or model.sizes.nearest((1, 1))
        text = TextToImage(**_sampling(request), width=width, height=height)
        return StabilityCall(f"{path}/text-to-image", seed, json=text.model_dump(exclude_none=True))
    body = ImageToImage(**_sampling(request), image_strength=round(1 - _strength(request), 6))
    return StabilityCall(f"{path}/image-to-image", seed, form=body.parts(image))


def v1_price(model: V1Model, per_image: Price | None, *, steps: int | None, images: int) -> Price | None:
    """What `images` cost at a number of steps."""
    if per_image is None:
        return None
    factor = max(Decimal(1), Decimal(steps or 0) / model.steps_in_price)
    return Price(per_image.amount * factor * images, per_image.currency)


def _strength(request: ImageRequest) -> float:
    return DEFAULT_STRENGTH if request.denoising_strength is None else request.denoising_strength


def _output_format(request: ImageRequest) -> str:
    # With a quality asked for, the delivery encodes; a second lossy step before it would only cost quality.
    return "png" if request.output_quality is not None else request.output_format or "png"


def _sampling(request: ImageRequest) -> dict[str, object]:
    return {
        "text_prompts": _prompts(request),
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "samples": request.n,
        "seed": request.seeds[0],
        "sampler": request.sampler,
        "style_preset": request.style_preset,
    }


def _prompts(request: ImageRequest) -> tuple[TextPrompt, ...]:
    wanted = TextPrompt(text=request.prompt, weight=1)
    if not request.negative_prompt:
        return (wanted,)
    return wanted, TextPrompt(text=request.negative_prompt, weight=-1)
