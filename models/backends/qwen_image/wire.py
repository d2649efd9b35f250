"""Builds the request bodies, one per call, without I/O.

Source: Model Studio, Qwen-Image, Wan and Z-Image APIs. The service silently truncates longer prompts; tasks, Wan and
Z-Image count characters, the synchronous endpoint of Qwen-Image counts tokens. Wan 2.1's function `remove_watermark` is left out on purpose.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, Field, ValidationError

from models.backends.errors import BadRequest
from models.backends.qwen_image.models import JobApi, QwenModel
from models.backends.reply import spelled
from models.entities import ImageRequest, StrictModel

SYNC_PATH = "multimodal-generation/generation"
JOB_PATHS: Mapping[str, str] = {
    "text2image": "text2image/image-synthesis",
    "image-generation": "image-generation/generation",
    "image2image": "image2image/image-synthesis",
    "images2image": "image2image/image-synthesis",
}
ASYNC_HEADER = {"X-DashScope-Async": "enable"}

NEGATIVE_PROMPT_CHARACTERS = 500

_WIDE = "\u2e80"  # from here on the scripts of East Asia, whose characters hold more
# The usual rule for Qwen's tokenizer, on the low side: a prompt that fits must not be reported as too long.
_WIDE_PER_TOKEN = 1.8
_NARROW_PER_TOKEN = 4.5

_PLAIN, _MASKED = "description_edit", "description_edit_with_mask"
_SCALES = ("top_scale", "bottom_scale", "left_scale", "right_scale")
_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((_PLAIN, "stylization_all"), ("denoising_strength",)),
    "expand": _SCALES,
    "super_resolution": ("upscale_factor",),
    "doodle": ("is_sketch",),
}
"""The editing functions of Wan with parameters that they alone read."""
_DEFAULTS = {"denoising_strength": 0.5, "upscale_factor": 1, "is_sketch": False, **dict.fromkeys(_SCALES, 1)}
"""The service's defaults. A node sends every default of its form, so such a value counts as unset."""


class Content(BaseModel):
    """One part of a message, sent or received; `image` is an address or a data URL."""

    image: str | None = None
    text: str | None = None


class Message(StrictModel):
    """Images in their order, then exactly one text."""

    role: Literal["user"] = "user"
    content: tuple[Content, ...]


class MessagesInput(StrictModel):
    messages: tuple[Message]


class PromptInput(StrictModel):
    """Of text2image tasks."""

    prompt: str
    negative_prompt: str | None = None


class FunctionInput(StrictModel):
    """Of image2image tasks. White parts of the mask are changed."""

    function: str
    prompt: str
    base_image_url: str
    mask_image_url: str | None = None


class ImagesInput(StrictModel):
    """Of images2image tasks."""

    prompt: str
    negative_prompt: str | None = None
    images: tuple[str, ...]


class Parameters(StrictModel):
    """`size` is `W*H` with an asterisk. The last eight belong to image2image tasks."""

    size: str | None = None
    n: int
    negative_prompt: str | None = None
    prompt_extend: bool | None = None
    prompt_extend_mode: str | None = None
    enable_thinking: bool | None = None
    thinking_mode: bool | None = None
    watermark: bool
    seed: int
    strength: float | None = Field(default=None, validation_alias="denoising_strength")
    top_scale: float | None = None
    bottom_scale: float | None = None
    left_scale: float | None = None
    right_scale: float | None = None
    upscale_factor: int | None = None
    is_sketch: bool | None = None


class StudioBody(StrictModel):
    """`unsent` names parameters that the model does not take."""

    model: str
    input: MessagesInput | PromptInput | FunctionInput | ImagesInput
    parameters: Parameters
    unsent: frozenset[str] = Field(default=frozenset(), exclude=True)

    def repeated(self, *, n: int, seed: int) -> Self:
        return self.model_copy(update={"parameters": self.parameters.model_copy(update={"n": n, "seed": seed})})

    def json_body(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"parameters": set(self.unsent)})


@dataclass(frozen=True, slots=True)
class Plan:
    """The bodies of the calls that make one request, on the asynchronous API `jobs` or, if that is None, synchronously."""

    jobs: JobApi | None
    calls: tuple[StudioBody, ...]
    notices: tuple[str, ...]


def plan(request: ImageRequest, model: QwenModel, remote: str, *, asynchronous: bool) -> Plan:
    """The calls of a request. Raises BadRequest for what the model or the account does not support."""
    if not (asynchronous or model.sync):
        raise jobs_only(remote)
    longer_at_once = model.sync and model.prompt_tokens is not None and not _fits_jobs(request, model)
    jobs = model.jobs if asynchronous and not longer_at_once else None
    common, notices = _common(request, model, jobs)
    body = StudioBody(model=remote, input=_input(request, jobs), parameters=common, unsent=model.without)
    starts = zip(range(0, request.n, model.images_per_call), request.seeds[:: model.images_per_call], strict=True)
    calls = (body.repeated(n=min(model.images_per_call, request.n - start), seed=seed) for start, seed in starts)
    return Plan(jobs, tuple(calls), (*notices, *_cut_notices(request, model, jobs)))


def estimated_tokens(text: str) -> int:
    wide = sum(char >= _WIDE for char in text)
    return int(wide / _WIDE_PER_TOKEN + (len(text) - wide) / _NARROW_PER_TOKEN)


def _fits_jobs(request: ImageRequest, model: QwenModel) -> bool:
    """Whether a task reads the whole prompt; the synchronous endpoint of some models reads longer ones."""
    return model.prompt_characters is None or len(request.prompt) <= model.prompt_characters


def _cut_notices(request: ImageRequest, model: QwenModel, jobs: JobApi | None) -> Iterator[str]:
    tokens = estimated_tokens(request.prompt)
    if jobs is None and model.prompt_tokens and tokens > model.prompt_tokens:
        reads = f"the model reads the first {model.prompt_tokens}"
        yield f"The prompt has about {tokens} tokens; {reads}, so its end may have no effect."
    yield from cut_notices(request, model.prompt_characters if jobs or model.prompt_tokens is None else None)


def cut_notices(request: ImageRequest, prompt_characters: int | None) -> Iterator[str]:
    """Of the texts that are longer than the service reads; it cuts them silently."""
    if prompt_characters and len(request.prompt) > prompt_characters:
        yield f"The prompt has {len(request.prompt)} characters; the model reads the first {prompt_characters}."
    if (length := len(request.negative_prompt)) > NEGATIVE_PROMPT_CHARACTERS:
        yield f"The negative prompt has {length} characters; the model reads the first {NEGATIVE_PROMPT_CHARACTERS}."


def jobs_only(remote: str) -> BadRequest:
    attempted = f"{remote} works with jobs only, which a Token Plan does not support"
    return BadRequest(attempted, next_step="Use a pay-as-you-go key for it")


def _common(request: ImageRequest, model: QwenModel, jobs: JobApi | None) -> tuple[Parameters, tuple[str, ...]]:
    """The parameters of every call but `n` and `seed`, and what could not be honoured."""
    fields: dict[str, object] = {"n": 1, "seed": 0, "watermark": bool(request.watermark)}
    if jobs == "image2image":
        own, notices = _function_parameters(request)
    else:
        own, notices = _thinking(request, model)
        fields["size"] = f"{request.width}*{request.height}" if request.size else None
        if jobs not in {"text2image", "images2image"}:  # their tasks take the negative prompt beside the prompt
            fields["negative_prompt"] = request.negative_prompt or None
        if model.prompt_extend:
            asked = request.prompt_extend
            fields["prompt_extend"] = model.extends_unasked if asked is None else asked
    return Parameters.model_validate({**fields, **own}), notices


def _thinking(request: ImageRequest, model: QwenModel) -> tuple[Mapping[str, object], tuple[str, ...]]:
    if model.thinks:
        return _thinking_mode(request)
    own = {name: request.extra[name] for name in ("prompt_extend_mode", "enable_thinking") if name in request.extra}
    if request.images and own.get("prompt_extend_mode") == "agent":
        notice = "The prompt mode `agent` works without input images only; `direct` was used."
        return {**own, "prompt_extend_mode": "direct"}, (notice,)
    return own, ()


def _thinking_mode(request: ImageRequest) -> tuple[Mapping[str, object], tuple[str, ...]]:
    wanted = request.extra.get("enable_thinking")
    if not request.images:
        return {"thinking_mode": wanted}, ()
    return {}, (("The model does not think about input images: `enable_thinking` was left out.",) if wanted else ())


def _input(request: ImageRequest, jobs: JobApi | None) -> MessagesInput | PromptInput | FunctionInput | ImagesInput:
    negative = request.negative_prompt or None
    match jobs:
        case "text2image":
            return PromptInput(prompt=request.prompt, negative_prompt=negative)
        case "images2image":
            images = tuple(image.data_url for image in request.images)
            return ImagesInput(prompt=request.prompt, negative_prompt=negative, images=images)
        case "image2image":
            function = _function(request)
            return FunctionInput(
                function=function,
                prompt=request.prompt,
                base_image_url=request.images[0].data_url,
                mask_image_url=request.mask.data_url if request.mask and function == _MASKED else None,
            )
        case _:
            shown = [Content(image=image.data_url) for image in request.images]
            return MessagesInput(messages=(Message(content=(*shown, Content(text=request.prompt))),))


def _function(request: ImageRequest) -> str:
    """The function asked for; if unset, a mask means inpainting. Raises BadRequest."""
    function = str(request.extra.get("edit_function") or (_MASKED if request.mask else _PLAIN))
    if function == _MASKED and request.mask is None:
        way_out = (
            "Send a second image of the same size whose file name contains `mask`, white where the image may change"
        )
        raise BadRequest(f"`{_MASKED}` needs a mask, and none was sent", next_step=way_out)
    return function


def _function_parameters(request: ImageRequest) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """The function's own parameters, and notices about those that it does not read."""
    function = _function(request)
    values = {"denoising_strength": request.denoising_strength, **request.extra}
    given = {name: values[name] for name in _DEFAULTS if values.get(name) is not None}
    # Every scale is 1 where none is named: the image would be paid for and come back as it was.
    if function == "expand" and all(given.get(name, 1) == 1 for name in _SCALES):
        way_out = f"Give at least one of {', '.join(f'`{name}`' for name in _SCALES)}, above 1 and up to 2"
        raise BadRequest("`expand` needs a direction", next_step=way_out)
    read = {name: value for name, value in given.items() if name in _FUNCTIONS.get(function, ())}
    return read, tuple(_unread(request, function, given))


def _unread(request: ImageRequest, function: str, given: Mapping[str, object]) -> Iterator[str]:
    # Transparency counts as a mask even if it was not meant as one, so this is not refused.
    if request.mask is not None and function != _MASKED:
        yield f"The mask was not used: `{function}` does not read one, `{_MASKED}` would."
    for name, value in given.items():
        if name not in _FUNCTIONS.get(function, ()) and value != _DEFAULTS[name]:
            readers = " and ".join(f"`{reader}`" for reader, own in _FUNCTIONS.items() if name in own)
            yield f"`{name}` was not used: `{function}` does not read it, {readers} would."


# Fields that some replies leave out and others fill with null or a number.
type _Words = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else spelled(value))]


class StudioFailure(BaseModel):
    """The envelope of a refusal, at the top of a reply or inside a task or one of its results."""

    code: _Words = ""
    message: _Words = ""
    request_id: _Words = ""

    @property
    def words(self) -> str:
        ids = ", ".join(part for part in (self.code, self.request_id and f"request {self.request_id}") if part)
        return f"{self.message} ({ids})" if self.message and ids else self.message or ids

    @classmethod
    def read(cls, parsed: object) -> Self:
        """The envelope of any JSON, empty where there is none; OpenAI-compatible replies wrap it in `error`."""
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
    """The output of a reply or of a task, failed or not. Old tasks list `results`, newer ones `choices`."""

    task_id: str = ""
    task_status: str = ""
    results: tuple[ResultEntry, ...] = ()
    choices: tuple[_Choice, ...] = ()

    @property
    def images(self) -> tuple[ResultEntry, ...]:
        return (*(ResultEntry(url=item.image) for item in self._contents if item.image), *self.results)

    @property
    def text(self) -> str:
        return " ".join(item.text for item in self._contents if item.text)

    @property
    def _contents(self) -> Iterator[Content]:
        return (item for choice in self.choices for item in choice.message.content)


class StudioReply(BaseModel):
    output: Output


class ModelList(BaseModel):
    """The list of models, OpenAI's or the native one; only its shape is checked."""

    data: list[object] = Field(validation_alias=AliasChoices("data", AliasPath("output", "models")))
