"""The v1 family: JSON (multipart beside an image), exact sizes out of nine, several images per call.

Source: Stability REST API, v1 generation/{engine}/text-to-image and image-to-image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from models.backends.http import FormField
from models.backends.reply import Reply, parse
from models.backends.stability.facts import V1
from models.backends.stability.form import form_text, strength
from models.backends.stability.outcome import ATTEMPT, Picture, decoded
from models.backends.stability.shapes import Size, asked_ratio, asked_size, asked_words, sdxl_size
from models.entities import ImageRequest, InputImage, Price


class TextPrompt(BaseModel):
    """A weight below zero makes it a negative prompt; the API has no other field for one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    weight: float


class Sampling(BaseModel):
    """What both calls share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    """`image_strength` is the reverse of our denoising strength: near 1 stays close to the image."""

    init_image_mode: str = "IMAGE_STRENGTH"
    image_strength: float = Field(ge=0, le=1)

    def parts(self, image: InputImage) -> dict[str, FormField]:
        """The form: prompts as indexed keys, every value as text, the image as the only file."""
        plain = self.model_dump(exclude_none=True, exclude={"text_prompts"})
        prompts = {
            f"text_prompts[{index}][{name}]": form_text(value)
            for index, prompt in enumerate(self.text_prompts)
            for name, value in prompt.model_dump().items()
        }
        picture: FormField = ("init_image", image.data, image.mime_type)
        return {**prompts, **{name: form_text(value) for name, value in plain.items()}, "init_image": picture}


@dataclass(frozen=True, slots=True)
class Call:
    """One call, ready to send: `json` for text, `form` beside an image."""

    action: str
    json: Mapping[str, object] | None = None
    form: Mapping[str, FormField] | None = None


class Artifact(BaseModel):
    base64: str
    seed: int | None = None
    finish_reason: str = Field(default="SUCCESS", alias="finishReason")


class Artifacts(BaseModel):
    artifacts: tuple[Artifact, ...]


class Answer(RootModel[Artifacts | tuple[Artifact, ...]]):
    """The published schema of 2023 shows a bare list, the samples and the later schema an object: both are read."""

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self.root.artifacts if isinstance(self.root, Artifacts) else self.root


def size_for(request: ImageRequest, image_size: Size | None) -> Size:
    """One of the nine sizes: nearest to what was asked for, else to the input image, else square."""
    width, height = image_size or (1, 1)
    return sdxl_size(asked_ratio(request) or width / height)


def size_notices(request: ImageRequest, used: Size) -> list[str]:
    """The asked and the used size, where they differ."""
    if asked_size(request) in {None, used}:
        return []
    return [f"{asked_words(request)} was asked for; the model makes nine sizes only: {used[0]}×{used[1]} was used."]


def build(request: ImageRequest, *, seed: int, size: Size, image: InputImage | None) -> Call:
    """The call of `request`; `image` is the input image, already in `size`."""
    if image is None:
        text = TextToImage(**_sampling(request, seed), width=size[0], height=size[1])
        return Call("text-to-image", json=text.model_dump(exclude_none=True))
    reversed_strength = round(1 - strength(request), 6)
    return Call(
        "image-to-image", form=ImageToImage(**_sampling(request, seed), image_strength=reversed_strength).parts(image)
    )


def read(reply: Reply, *, sent_seed: int) -> Sequence[Picture]:
    """The images of a 200. Raises ServerUnavailable when there is none to read."""
    artifacts = parse(reply, Answer, attempt=ATTEMPT).artifacts
    return [_picture(artifact, sent_seed) for artifact in artifacts]


def price(facts: V1, per_image: Price | None, *, steps: int | None, images: int) -> Price | None:
    """The price of the card holds up to `steps_in_price` steps and grows in proportion beyond them."""
    if per_image is None:
        return None
    factor = max(Decimal(1), Decimal(steps or 0) / facts.steps_in_price)
    return Price(per_image.amount * factor * images, per_image.currency)


def _sampling(request: ImageRequest, seed: int) -> dict[str, object]:
    return {
        "text_prompts": _prompts(request),
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "samples": request.n,
        "seed": seed,
        "sampler": request.sampler,
        "style_preset": request.style_preset,
    }


def _prompts(request: ImageRequest) -> tuple[TextPrompt, ...]:
    wanted = TextPrompt(text=request.prompt, weight=1)
    if not request.negative_prompt:
        return (wanted,)
    return wanted, TextPrompt(text=request.negative_prompt, weight=-1)


def _picture(artifact: Artifact, sent_seed: int) -> Picture:
    return Picture(
        decoded(artifact.base64), sent_seed if artifact.seed is None else artifact.seed, artifact.finish_reason
    )
