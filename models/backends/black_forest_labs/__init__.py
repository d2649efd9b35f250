"""Black Forest Labs: the FLUX models at the vendor's own API, each image a task at a regional address.

Source: docs.bfl.ai, generated from the API's own schema; see the page of each model.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Literal, override

from pydantic import BaseModel, JsonValue

from models.backends.base import PROBE_SECONDS, Capabilities, Model, Running
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import ONCE, without_nulls
from models.backends.images import FoundImage, ImageFetcher, at_own_host
from models.backends.partial import Partial, each
from models.backends.refusals import RefusalTable
from models.backends.reply import Reply, parse, spelled
from models.backends.tasks import Task, TaskBackend, TaskJob
from models.catalog import card_for, cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest, InputImage, Price, StrictModel
from models.images.inputs import InputLimits, fitted
from models.parameters import Rule, load_rules
from models.sizes import RatioSizes, SeedRule, SizeRule

GENERATE = "Generating with Black Forest Labs"
_LOOK = "Looking at the task at Black Forest Labs"
_INPUTS = InputLimits(formats=("png", "jpeg", "webp"), max_bytes=20_000_000)
_HOSTS = r"(?:.+\.)?bfl\.ai"
_NOT_FOUND_YET = 15.0  # seconds in which a region may not know the task of another
_LIKE = "flux-2-pro"
"""The model whose parameters an unknown one is given."""
_SEEDS = SeedRule(highest=2**31 - 1)
_EXPIRY = "The address in `image_url` expires 10 minutes after the image was made."
_EDGES = {"left": "outpaint_left", "right": "outpaint_right", "top": "outpaint_up", "bottom": "outpaint_down"}


class FluxFacts(StrictModel):
    """What a card says about its model: its path, how it takes sizes and images, and its own parameters.

    `image_field` names the field of the first input image; the others follow as `<field>_2` and so on.
    """

    path: str
    sizes: SizeRule
    images: int = 0
    min_images: int = 0
    mask: bool = False
    image_field: Literal["input_image", "image_prompt", "image"] = "input_image"


class StartedTask(BaseModel):
    """The reply to a new task. `cost` is in credits, hundredths of a US dollar."""

    id: str
    polling_url: str
    cost: float | None = None


class TaskState(BaseModel):
    """One look at a task. `details` says why it was refused or failed."""

    status: str
    progress: float | None = None
    details: JsonValue = None
    result: dict[str, JsonValue] | None = None


class BlackForestLabs(TaskBackend):
    name = "black_forest_labs"
    title = "Black Forest Labs"
    prefix = "bfl"
    required = ("api_key",)
    home = "https://api.bfl.ai"
    refusals = RefusalTable.beside(__file__)
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        card = card_for(self.name, model.remote) or cards()[_LIKE]
        self._rules, facts = card.rules, FluxFacts.model_validate(card.facts)
        self._facts = facts if card.model == model.remote else facts.model_copy(update={"path": model.remote})

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self._facts.images, min_images=self._facts.min_images, mask=self._facts.mask)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return self._facts.sizes

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return _SEEDS

    @override
    def login(self, user: str, password: str) -> Mapping[str, str]:
        return {"x-key": self.model.access.api_key}

    @override
    def check_access(self) -> Sequence[str]:
        attempt = f"Checking {self.title}"
        reply = self.service.request("GET", "v1/credits", attempt=attempt, deadline=self.within(PROBE_SECONDS))
        credits_left = parse(reply, _Credits, attempt=attempt).credits
        return [f"{credits_left:g} credits are left."]

    @override
    def _prepared(self, request: ImageRequest) -> ImageRequest:
        return fitted(request, _INPUTS).with_notices(_EXPIRY)

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        body, path = body_of(self._facts, request, request.seeds[place]), f"v1/{self._facts.path}"
        reply = self.service.request("POST", path, attempt=GENERATE, deadline=deadline, json=body)
        started = parse(reply, StartedTask, attempt=GENERATE)
        facts = {"address": started.polling_url, "cost": started.cost, "started": self.clock.now()}
        return Task(id=started.id, seed=request.seeds[place], facts=facts)

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        host, path = at_own_host(self.service, str(task.facts["address"]), _HOSTS, _LOOK)
        accept = (HTTPStatus.NOT_FOUND,)
        reply = host.request("GET", path, attempt=_LOOK, deadline=deadline, retries=ONCE, accept=accept)
        state = parse(reply, TaskState, attempt=_LOOK)
        match state.status:
            case "Ready":
                return reply
            case "Request Moderated" | "Content Moderated":
                raise BadRequest(f"{GENERATE} failed", *_moderated(state))
            case "Error" | "Failed":
                raise ServerUnavailable(f"{GENERATE} failed", spelled(state.details) or "the task failed there")
            case "Task not found" if self.clock.now() - float(str(task.facts["started"])) > _NOT_FOUND_YET:
                raise ServerUnavailable(f"{GENERATE} failed", "the service no longer has the task", "Start it again")
        return Running(f"running, {state.progress:.0%}" if state.progress else "running")

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        result = parse(reply, TaskState, attempt=GENERATE).result or {}
        seed, address = result.get("seed"), result.get("sample")
        if not isinstance(address, str):
            return Partial()
        fetcher = ImageFetcher(
            service=self.service, attempt=GENERATE, deadline=deadline, kept="10 minutes", retries=ONCE
        )
        return each(
            lambda image: fetcher.image(image, seed if isinstance(seed, int) else task.seed),
            [FoundImage(address=address)],
        )

    @override
    def _price(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> Price | None:
        costs = [task.facts.get("cost") for task, _ in succeeded]
        numbers = [Decimal(str(cost)) for cost in costs if isinstance(cost, int | float)]
        return Price(sum(numbers, Decimal(0)) / 100, "USD") if costs and len(numbers) == len(costs) else None


class _Credits(BaseModel):
    credits: float


def body_of(facts: FluxFacts, request: ImageRequest, seed: int) -> Mapping[str, JsonValue]:
    """The body of one task. Images are base64 without a prefix; a mask is white where it is painted anew."""
    values: dict[str, JsonValue] = {
        "prompt": request.prompt,
        "seed": seed,
        "output_format": request.output_format if request.output_format in {"png", "jpeg"} else "png",
        "steps": request.steps,
        "prompt_upsampling": request.prompt_extend,
        "mask": request.mask.base64 if request.mask else None,
        **_size(facts, request),
        **_image_fields(facts.image_field, request.images),
        **{key: request.extra.get(name) for key, name in _EDGES.items()},
        **{name: value for name, value in request.extra.items() if name not in _EDGES.values()},
    }
    return without_nulls(values)


def _size(facts: FluxFacts, request: ImageRequest) -> Mapping[str, JsonValue]:
    if request.size is None or facts.sizes.rule == "none":
        return {}
    if isinstance(facts.sizes, RatioSizes):
        return {"aspect_ratio": facts.sizes.nearest_ratio(request.size)}
    return {"width": request.size[0], "height": request.size[1]}


def _image_fields(field: str, images: Sequence[InputImage]) -> Mapping[str, JsonValue]:
    return {field if place == 1 else f"{field}_{place}": image.base64 for place, image in enumerate(images, start=1)}


def _moderated(state: TaskState) -> tuple[str, str]:
    what = "the prompt or an input image" if state.status == "Request Moderated" else "the generated image"
    reasons = spelled(state.details)
    return f"{what} was refused by the service's filter" + (f" ({reasons})" if reasons else ""), "Change the prompt"
