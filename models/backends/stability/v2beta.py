"""The v2beta family: multipart, one image per call, nine shapes instead of sizes.

Source: Stability REST API, v2beta stable-image/generate/{ultra,core,sd3}.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.backends.http import FormField
from models.backends.reply import Reply, parse
from models.backends.stability.facts import V2Beta
from models.backends.stability.form import form_text, strength
from models.backends.stability.outcome import ATTEMPT, Picture, decoded
from models.backends.stability.shapes import asked_ratio, asked_size, asked_words, v2beta_ratio
from models.entities import GeneratedImage, ImageRequest, InputImage
from models.images.sniff import sniff


class GenerateForm(BaseModel):
    """The text parts of one call. `strength` is our denoising strength."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    def parts(self) -> dict[str, FormField]:
        """Every value as text: multipart knows nothing else."""
        return {name: form_text(value) for name, value in self.model_dump(exclude_none=True).items()}


@dataclass(frozen=True, slots=True)
class Call:
    """One call, ready to send."""

    form: GenerateForm
    image: InputImage | None = None

    def parts(self) -> dict[str, FormField]:
        if self.image is None:
            return self.form.parts()
        return {**self.form.parts(), "image": ("image", self.image.data, self.image.mime_type)}


class GenerateReply(BaseModel):
    """`seed` is optional in the service's schema."""

    image: str
    seed: int | None = None
    finish_reason: str = "SUCCESS"


def build(facts: V2Beta, request: ImageRequest, *, seed: int, image: InputImage | None) -> Call:
    """One call of `request`; `image` is the input image, already small enough for the service."""
    return Call(
        form=GenerateForm(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or None,
            model=facts.model,
            mode="image-to-image" if image and facts.image_to_image == "mode" else None,
            aspect_ratio=aspect_ratio(facts, request, image),
            strength=strength(request) if image else None,
            cfg_scale=request.cfg_scale,
            style_preset=request.style_preset,
            seed=seed,
            output_format=_output_format(request),
        ),
        image=image,
    )


def aspect_ratio(facts: V2Beta, request: ImageRequest, image: InputImage | None) -> str | None:
    """The shape to ask for; None where the service decides (the input image, or its default 1:1).

    `mode` endpoints take no aspect ratio beside an image. The other one keeps the image's shape only when told.
    """
    if image is not None and facts.image_to_image == "mode":
        return None
    ratio = asked_ratio(request) or (_ratio(image) if image else None)
    return v2beta_ratio(ratio) if ratio else None


def shape_notices(request: ImageRequest, call: Call, made: GeneratedImage) -> list[str]:
    """What became of the asked shape, naming both; empty when the image is what was asked for."""
    asked, used = asked_words(request), call.form.aspect_ratio
    width, height = made.size
    if not asked or asked_size(request) == (width, height):
        return []
    told = f"{asked} was asked for"
    if used is None:
        return [f"{told}; beside an input image the model keeps that image's shape: {width}×{height}."]
    if asked != used:
        return [f"{told}; the model takes aspect ratios, not sizes: {used} was used, {width}×{height} pixels."]
    return [] if v2beta_ratio(width / height) == used else [f"{told}; the image came as {width}×{height}."]


def read(reply: Reply, *, sent_seed: int) -> Picture:
    """The image of a 200, in either of the two forms of the answer. Raises ServerUnavailable when it is neither."""
    if reply.headers.get("content-type", "").startswith("image/"):
        seed = reply.headers.get("seed", "")
        return Picture(
            reply.body, int(seed) if seed.isdecimal() else sent_seed, reply.headers.get("finish-reason", "SUCCESS")
        )
    answer = parse(reply, GenerateReply, attempt=ATTEMPT)
    return Picture(decoded(answer.image), sent_seed if answer.seed is None else answer.seed, answer.finish_reason)


def _output_format(request: ImageRequest) -> str:
    # With a quality asked for, the delivery encodes; a second lossy step before it would only cost quality.
    return "png" if request.output_quality is not None else request.output_format or "png"


def _ratio(image: InputImage) -> float:
    header = sniff(image.data)
    return header.width / header.height
