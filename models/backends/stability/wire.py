"""Request bodies and replies of the Stability API: bodies are strict, replies tolerant.

Source: Stability REST API, v2beta stable-image/generate/{ultra,core,sd3} and v1 generation/{engine}.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, RootModel

from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import FormField
from models.backends.images import image_bytes
from models.backends.partial import Partial, each
from models.backends.reply import Reply, parse
from models.backends.stability.models import DEFAULT_STRENGTH, V1Model, V2BetaModel
from models.entities import GeneratedImage, ImageRequest, InputImage, Price, StrictModel

ATTEMPT = "Generating with Stability AI"
_FAILED = f"{ATTEMPT} failed"
_MAYBE_CHARGED = "The service may have charged for it: check your balance before you try again"


class GenerateForm(StrictModel):
    """The text parts of one v2beta call. `strength` is our denoising strength."""

    prompt: str
    negative_prompt: str | None = None
    model: str | None = None
    mode: Literal["image-to-image"] | None = None
    aspect_ratio: str | None = None
    strength: float | None = None
    cfg_scale: float | None = None
    style_preset: str | None = None
    seed: int
    output_format: str

    def parts(self, image: InputImage | None) -> dict[str, FormField]:
        return {**texts(self.model_dump(exclude_none=True)), **files(image=image)}


class TextPrompt(StrictModel):
    """A weight below zero makes it a negative prompt; v1 has no other field for one."""

    text: str
    weight: float


class Sampling(StrictModel):
    text_prompts: tuple[TextPrompt, ...]
    cfg_scale: float | None = None
    steps: int | None = None
    samples: int
    seed: int
    sampler: str | None = None
    style_preset: str | None = None


class TextToImage(Sampling):
    width: int
    height: int


class ImageToImage(Sampling):
    """`image_strength` is 1 minus the denoising strength: near 1 stays close to the image."""

    init_image_mode: str = "IMAGE_STRENGTH"
    image_strength: float = Field(ge=0, le=1)

    def parts(self, image: InputImage) -> dict[str, FormField]:
        prompts = {
            f"text_prompts[{index}][{name}]": value
            for index, prompt in enumerate(self.text_prompts)
            for name, value in prompt.model_dump().items()
        }
        plain = self.model_dump(exclude_none=True, exclude={"text_prompts"})
        return {**texts({**prompts, **plain}), **files(init_image=image)}


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
        output_format=output_format(request),
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
    if per_image is None:
        return None
    factor = max(Decimal(1), Decimal(steps or 0) / model.steps_in_price)
    return Price(per_image.amount * factor * images, per_image.currency)


def _strength(request: ImageRequest) -> float:
    return DEFAULT_STRENGTH if request.denoising_strength is None else request.denoising_strength


def output_format(request: ImageRequest) -> str:
    # With a quality asked for, the delivery encodes; a second lossy step before it would only cost quality.
    return "png" if request.output_quality is not None else request.output_format or "png"


def _sampling(request: ImageRequest) -> dict[str, object]:
    prompts = [TextPrompt(text=request.prompt, weight=1)]
    if request.negative_prompt:
        prompts.append(TextPrompt(text=request.negative_prompt, weight=-1))
    return {
        "text_prompts": prompts,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "samples": request.n,
        "seed": request.seeds[0],
        "sampler": request.sampler,
        "style_preset": request.style_preset,
    }


class Artifact(BaseModel):
    """An answer of v2beta, or one image of an answer of v1. `seed` is optional in the service's schema."""

    image: str = Field(validation_alias=AliasChoices("image", "base64"))
    seed: int | None = None
    finish_reason: str = Field(default="SUCCESS", validation_alias=AliasChoices("finish_reason", "finishReason"))


class Artifacts(BaseModel):
    artifacts: tuple[Artifact, ...]


class ArtifactsReply(RootModel[Artifacts | tuple[Artifact, ...]]):
    """The published schema of 2023 shows a bare list, the samples and the later schema an object: both are read."""

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self.root.artifacts if isinstance(self.root, Artifacts) else self.root


def read_v2beta(reply: Reply, *, sent_seed: int) -> Partial:
    """The image of a 200 reply, in either of its two formats. Raises ServerUnavailable for any other."""
    headers = reply.headers
    if headers.get("content-type", "").startswith("image/"):
        reported = headers.get("seed", "")
        seed = int(reported) if reported.isdecimal() else sent_seed
        return each(lambda image: _image(image, seed, headers.get("finish-reason", "SUCCESS")), (reply.body,))
    return _images((parse(reply, Artifact, attempt=ATTEMPT),), sent_seed)


def read_v1(reply: Reply, *, sent_seed: int) -> Partial:
    """Raises ServerUnavailable when there is no image to read."""
    artifacts = parse(reply, ArtifactsReply, attempt=ATTEMPT).artifacts
    if not artifacts:
        raise ServerUnavailable(_FAILED, "the service reported success without an image", _MAYBE_CHARGED)
    return _images(artifacts, sent_seed)


def _images(artifacts: Sequence[Artifact], sent_seed: int) -> Partial:
    def image_of(artifact: Artifact) -> GeneratedImage:
        return _image(artifact.image, sent_seed if artifact.seed is None else artifact.seed, artifact.finish_reason)

    return each(image_of, artifacts)


def _image(source: bytes | str, seed: int, finish_reason: str) -> GeneratedImage:
    """Raises BadRequest for a filtered (blurred) image, ServerUnavailable for a broken one."""
    match finish_reason:
        case "SUCCESS":
            return GeneratedImage(image_bytes(source, attempt=ATTEMPT, next_step=_MAYBE_CHARGED), seed=seed)
        case "CONTENT_FILTERED":
            raise BadRequest(
                _FAILED,
                "the service's content filter withheld the image",
                "Reword the prompt; the service may charge for an image that it withheld",
            )
        case reason:
            raise ServerUnavailable(_FAILED, f"the service ended with {reason}", _MAYBE_CHARGED)


def texts(values: dict[str, object]) -> dict[str, FormField]:
    """Values as multipart text; floats have six digits."""
    return {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}


def files(**images: InputImage | None) -> dict[str, FormField]:
    return {name: (name, image.data, image.mime_type) for name, image in images.items() if image}
