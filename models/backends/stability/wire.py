"""What travels to Stability and back: request bodies are strict, replies tolerant.

Source: Stability REST API, v2beta stable-image/generate/{ultra,core,sd3} and v1 generation/{engine}.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import FormField
from models.backends.partial import Partial
from models.backends.reply import Reply, parse
from models.base64_text import from_base64
from models.entities import GeneratedImage, InputImage
from models.images.sniff import NotAnImageError, sniff

ATTEMPT = "Generating with Stability AI"
_MAYBE_CHARGED = "The service may have charged for it: look at your balance before you ask again"


class GenerateForm(BaseModel):
    """The text parts of one v2beta call. `strength` is our denoising strength."""

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

    def parts(self, image: InputImage | None) -> dict[str, FormField]:
        """The form: every value as text, the image as the only file."""
        return {**_texts(self.model_dump(exclude_none=True)), **_files(image=image)}


class TextPrompt(BaseModel):
    """A weight below zero makes it a negative prompt; v1 has no other field for one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    weight: float


class Sampling(BaseModel):
    """What both calls of v1 share."""

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
        prompts = {
            f"text_prompts[{index}][{name}]": value
            for index, prompt in enumerate(self.text_prompts)
            for name, value in prompt.model_dump().items()
        }
        plain = self.model_dump(exclude_none=True, exclude={"text_prompts"})
        return {**_texts({**prompts, **plain}), **_files(init_image=image)}


class GenerateReply(BaseModel):
    """The answer of v2beta. `seed` is optional in the service's schema."""

    image: str
    seed: int | None = None
    finish_reason: str = "SUCCESS"


class Artifact(BaseModel):
    """One image of an answer of v1."""

    base64: str
    seed: int | None = None
    finish_reason: str = Field(default="SUCCESS", alias="finishReason")


class Artifacts(BaseModel):
    artifacts: tuple[Artifact, ...]


class ArtifactsReply(RootModel[Artifacts | tuple[Artifact, ...]]):
    """The published schema of 2023 shows a bare list, the samples and the later schema an object: both are read."""

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self.root.artifacts if isinstance(self.root, Artifacts) else self.root


def read_v2beta(reply: Reply, *, sent_seed: int) -> Partial:
    """The image of a 200, in either of the two forms of the answer. Raises ServerUnavailable when it is neither."""
    if reply.headers.get("content-type", "").startswith("image/"):
        seed = reply.headers.get("seed", "")
        finish_reason = reply.headers.get("finish-reason", "SUCCESS")
        return _image(reply.body, int(seed) if seed.isdecimal() else sent_seed, finish_reason)
    answer = parse(reply, GenerateReply, attempt=ATTEMPT)
    return _image(_decoded(answer.image), sent_seed if answer.seed is None else answer.seed, answer.finish_reason)


def read_v1(reply: Reply, *, sent_seed: int) -> Partial:
    """The images of a 200. Raises ServerUnavailable when there is none to read."""
    made = Partial()
    artifacts = parse(reply, ArtifactsReply, attempt=ATTEMPT).artifacts
    if not artifacts:
        raise _broken_answer("the service reported success without an image")
    for found in artifacts:
        seed = sent_seed if found.seed is None else found.seed
        made += _image(_decoded(found.base64), seed, found.finish_reason)
    return made


def _image(data: bytes, seed: int, finish_reason: str) -> Partial:
    failure = _failure(data, finish_reason)
    return Partial(failures=(failure,)) if failure else Partial(images=(GeneratedImage(data, seed=seed),))


def _decoded(text: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError:
        raise _broken_answer("the image in the answer is not base64") from None


def _failure(data: bytes, finish_reason: str) -> ImageError | None:
    """Why an image of a 200 cannot be handed out; None for a good one. A filtered image is blurred."""
    match finish_reason:
        case "SUCCESS":
            return _not_an_image(data)
        case "CONTENT_FILTERED":
            return BadRequest(
                f"{ATTEMPT} failed",
                "the service's content filter withheld the image",
                "Reword the prompt; the service may charge for an image that it withheld",
            )
        case reason:
            return _broken_answer(f"the service ended with {reason}")


def _broken_answer(said: str) -> ServerUnavailable:
    """The error for a 200 without a usable image."""
    return ServerUnavailable(f"{ATTEMPT} failed", said, _MAYBE_CHARGED)


def _not_an_image(data: bytes) -> ServerUnavailable | None:
    try:
        sniff(data)
    except NotAnImageError as error:
        return _broken_answer(str(error))
    return None


def _texts(values: dict[str, object]) -> dict[str, FormField]:
    """Values as multipart carries them; floats without the noise of their last digits."""
    return {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}


def _files(**images: InputImage | None) -> dict[str, FormField]:
    return {name: (name, image.data, image.mime_type) for name, image in images.items() if image}
