"""What travels to Model Studio and back: request bodies are strict, replies tolerant.

Source: Model Studio, Qwen-Image API (multimodal generation; text2image and image-generation tasks), Wan image editing
API (image2image tasks), task API. A field that a model does not take stays None and is not sent.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.backends.reply import spelled

SYNC_PATH = "services/aigc/multimodal-generation/generation"
JOB_PATHS: Mapping[str, str] = {
    "text2image": "services/aigc/text2image/image-synthesis",
    "image-generation": "services/aigc/image-generation/generation",
    "image2image": "services/aigc/image2image/image-synthesis",
}
ASYNC_HEADER = {"X-DashScope-Async": "enable"}


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Content(BaseModel):
    """One part of a message, sent or received: an image (an address or a data URL) or a text."""

    image: str | None = None
    text: str | None = None


class Message(_Sent):
    """Images in their order, then exactly one text."""

    role: Literal["user"] = "user"
    content: tuple[Content, ...]


class MessagesInput(_Sent):
    messages: tuple[Message]


class PromptInput(_Sent):
    """The older shape, of text2image tasks."""

    prompt: str
    negative_prompt: str | None = None


class FunctionInput(_Sent):
    """The shape of image2image tasks. White parts of the mask are changed."""

    function: str
    prompt: str
    base_image_url: str
    mask_image_url: str | None = None


class Parameters(_Sent):
    """`size` is `W*H` with an asterisk. The last eight belong to image2image tasks."""

    size: str | None = None
    n: int
    negative_prompt: str | None = None
    prompt_extend: bool | None = None
    prompt_extend_mode: str | None = None
    enable_thinking: bool | None = None
    watermark: bool
    seed: int
    strength: float | None = Field(default=None, validation_alias="denoising_strength")
    top_scale: float | None = None
    bottom_scale: float | None = None
    left_scale: float | None = None
    right_scale: float | None = None
    upscale_factor: int | None = None
    is_sketch: bool | None = None


class StudioBody(_Sent):
    model: str
    input: MessagesInput | PromptInput | FunctionInput
    parameters: Parameters

    def repeated(self, *, n: int, seed: int) -> Self:
        """The same request with another number and seed; the images in it are shared, not copied."""
        return self.model_copy(update={"parameters": self.parameters.model_copy(update={"n": n, "seed": seed})})

    def json_body(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude_none=True)


# Fields that some answers leave out and others fill with null or a number.
type _Words = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else spelled(value))]


class StudioFailure(BaseModel):
    """The envelope of a refusal, at the top of an answer or inside a task or one of its results."""

    code: _Words = ""
    message: _Words = ""
    request_id: _Words = ""

    @property
    def words(self) -> str:
        """The service's words, with what its support asks for."""
        told = ", ".join(part for part in (self.code, self.request_id and f"request {self.request_id}") if part)
        return f"{self.message} ({told})" if self.message else told

    @classmethod
    def read(cls, parsed: object) -> Self:
        """The envelope of any JSON, empty where there is none; OpenAI-compatible answers wrap it in `error`."""
        try:
            match parsed:
                case {"error": dict(inner)}:
                    return cls.model_validate(inner)
                case {"error": str(words)} if words:
                    return cls(message=words)
                case _:
                    return cls.model_validate(parsed)
        except ValidationError:
            return cls()


def _as_list(content: object) -> object:
    return [{"text": content}] if isinstance(content, str) else content or ()


class _ReplyMessage(BaseModel):
    content: Annotated[tuple[Content, ...], BeforeValidator(_as_list)] = ()


class _Choice(BaseModel):
    message: _ReplyMessage = _ReplyMessage()


class ResultEntry(StudioFailure):
    """One entry of a result: an address, or the failure of this one image."""

    url: str = ""
    actual_prompt: str | None = None


class Output(StudioFailure):
    """The output of an answer or of a task, failed or not. Old tasks list `results`, everything newer `choices`."""

    task_id: str = ""
    task_status: str = ""
    results: tuple[ResultEntry, ...] = ()
    choices: tuple[_Choice, ...] = ()

    @property
    def images(self) -> tuple[ResultEntry, ...]:
        """Every image of every choice, and every result, failed ones included."""
        return (*(ResultEntry(url=item.image) for item in self._contents if item.image), *self.results)

    @property
    def text(self) -> str:
        """What the model said beside its images, or in place of them."""
        return " ".join(item.text for item in self._contents if item.text)

    @property
    def _contents(self) -> Iterator[Content]:
        return (item for choice in self.choices for item in choice.message.content)


class StudioReply(BaseModel):
    """Any 200 answer of the generation and task APIs that is no refusal."""

    output: Output


class ModelList(BaseModel):
    """The list of models, OpenAI's or the native one; only that it is one counts."""

    data: list[object] = Field(validation_alias=AliasChoices("data", AliasPath("output", "models")))
