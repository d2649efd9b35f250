"""From a request to what is sent: pure functions, one body per call that the service must be asked."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.backends.qwen_image import functions
from models.backends.qwen_image.facts import Facts, JobApi
from models.backends.qwen_image.lengths import cut_notices, fits_jobs
from models.backends.qwen_image.sizes import Size, chosen_size
from models.backends.qwen_image.wire import (
    Body,
    FunctionInput,
    ImageItem,
    Message,
    MessagesInput,
    Parameters,
    PromptInput,
    TextItem,
)
from models.entities import ImageRequest
from models.images.sniff import sniff

MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the service; its images are made from `seed`."""

    body: Body
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls that make one request, on the asynchronous API `jobs` or, where that is None, synchronously."""

    jobs: JobApi | None
    calls: tuple[Call, ...]
    notices: tuple[str, ...]


def plan(request: ImageRequest, facts: Facts, remote: str, *, seed: int, asynchronous: bool) -> Plan:
    """What to send. `seed` is the request's own or a drawn one; repeated calls count it up.

    Raises BadRequest for what the model or the account cannot express.
    """
    if not (asynchronous or facts.sync):
        raise BadRequest(
            f"{remote} works with jobs only, which a Token Plan does not take",
            next_step="Use a pay-as-you-go key for it",
        )
    jobs = facts.jobs if asynchronous and (not facts.sync or fits_jobs(request, facts)) else None
    size, size_notice = _size(request, facts, remote)
    common, notices = _common(request, facts, size)
    notices += (size_notice, *cut_notices(request, facts, jobs))
    counts = _counts(request.n, facts.images_per_call)
    seeds = [(seed + before) % (MAX_SEED + 1) for before in _running_totals(counts)]
    body = _body(request, remote, jobs, common)
    calls = tuple(Call(body.repeated(n=n, seed=s), s) for n, s in zip(counts, seeds, strict=True))
    return Plan(jobs, calls, tuple(notice for notice in notices if notice))


def checked_seed(seed: int) -> int:
    """Raises BadRequest for a seed that the service does not take."""
    if not 0 <= seed <= MAX_SEED:
        raise BadRequest(f"The parameter `seed` cannot be {seed}", next_step=f"Give a number between 0 and {MAX_SEED}")
    return seed


def _size(request: ImageRequest, facts: Facts, remote: str) -> tuple[Size | None, str]:
    if facts.size is None:
        return None, ""
    # The service itself takes the shape of an edit from the last image.
    header = sniff(request.images[-1].data) if request.images else None
    like = (header.width, header.height) if header else None
    return chosen_size(request, facts.size, like=like, model=remote)


def _common(request: ImageRequest, facts: Facts, size: Size | None) -> tuple[Parameters, tuple[str, ...]]:
    """The parameters of every call but `n` and `seed`, and what could not be honoured."""
    fields: dict[str, object] = {"n": 1, "seed": 0, "watermark": bool(request.watermark)}
    if facts.jobs == "image2image":
        own, notices = functions.parameters(request)
    else:
        own, notices = _thinking(request)
        fields["size"] = f"{size[0]}*{size[1]}" if size else None
        fields["negative_prompt"] = request.negative_prompt or None
        if facts.prompt_extend:
            fields["prompt_extend"] = request.prompt_extend is not False
    return Parameters.model_validate({**fields, **own}), notices


def _thinking(request: ImageRequest) -> tuple[Mapping[str, object], tuple[str, ...]]:
    own = {name: request.extra[name] for name in ("prompt_extend_mode", "enable_thinking") if name in request.extra}
    if request.images and own.get("prompt_extend_mode") == "agent":
        notice = "The prompt mode `agent` works without input images only; `direct` was used."
        return {**own, "prompt_extend_mode": "direct"}, (notice,)
    return own, ()


def _counts(n: int, per_call: int) -> list[int]:
    """How many images each call makes: as many as it may, the last one the rest."""
    return [min(per_call, n - start) for start in range(0, n, per_call)]


def _running_totals(counts: list[int]) -> list[int]:
    return [sum(counts[:index]) for index in range(len(counts))]


def _body(request: ImageRequest, remote: str, jobs: JobApi | None, parameters: Parameters) -> Body:
    match jobs:
        case "text2image":
            negative = parameters.negative_prompt
            return Body(
                model=remote,
                input=PromptInput(prompt=request.prompt, negative_prompt=negative),
                parameters=parameters.model_copy(update={"negative_prompt": None}),
            )
        case "image2image":
            return Body(model=remote, input=_function_input(request), parameters=parameters)
        case _:
            items = [ImageItem(image=image.data_url) for image in request.images]
            message = Message(content=(*items, TextItem(text=request.prompt)))
            return Body(model=remote, input=MessagesInput(messages=(message,)), parameters=parameters)


def _function_input(request: ImageRequest) -> FunctionInput:
    function = functions.chosen(request)
    return FunctionInput(
        function=function,
        prompt=request.prompt,
        base_image_url=request.images[0].data_url,
        mask_image_url=request.mask.data_url if request.mask and function == functions.MASKED else None,
    )
