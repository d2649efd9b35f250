"""The models that take an image: editing, control and upscaling. Each image is one call; two of them work by jobs.

Source: Stability REST API, v2beta stable-image/{edit,control,upscale} and results.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Literal, override

from pydantic import BaseModel

from models.backends.base import SYNC_LIMIT, Capabilities, Job, Model, Running
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import ONCE, FormField
from models.backends.partial import Partial, collected, together
from models.backends.reply import Reply, parse
from models.backends.stability.account import StabilityAccount
from models.backends.stability.models import AT_ONCE, INPUT_LIMITS, V2BetaModel
from models.backends.stability.wire import ATTEMPT, StabilityCall, files, output_format, read_v2beta, texts
from models.backends.tasks import Task, TaskBackend
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, InputImage, ParameterValue, StrictModel
from models.images.inputs import InputLimits, fit, fitted, size_of
from models.sizes import NoSizes, SeedRule, SizeRule, written

_POLL_SECONDS = 10.0
"""The service asks for no more than one look in ten seconds."""
_LOOK = "Looking at the job at Stability AI"


class EditModel(StrictModel):
    """The `image_generation` block of such a card.

    `image`, `second_image` and `mask` are the service's fields for files, `prompt` that for the prompt; empty: it has
    none. `fields` are its names for parameters of our form. `max_area` and `max_ratio` bound input images.
    """

    api: Literal["edit"]
    path: str
    jobs: bool = False
    image: str = "image"
    second_image: str = ""
    mask: str = ""
    prompt: str = "prompt"
    needs_prompt: bool = True
    seed: bool = True
    ratios: bool = False
    fields: Mapping[str, str] = {}
    some_of: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    max_side: int = 16_383
    max_area: int = 9_437_184
    max_ratio: float = math.inf


class StartedJob(BaseModel):
    id: str


class StabilityEdit(StabilityAccount, TaskBackend):
    """One of Stability's models that edit, control or upscale an image."""

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        assert model.card  # noqa: S101 -- `Stability.bind` chose this class by the card
        self.facts = EditModel.model_validate(dict(model.card.facts))

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=1 + bool(self.facts.second_image), min_images=1, mask=bool(self.facts.mask))

    @override
    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        return self.facts.needs_prompt

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        reason = f"{self.model.name} decides the size from the input image"
        return V2BetaModel.ratios if self.facts.ratios else NoSizes(reason=reason)

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return V2BetaModel.seeds if self.facts.seed else None

    @override
    def interval(self, elapsed: float) -> float:
        return _POLL_SECONDS

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        if self.facts.jobs:
            return super()._submit(request, deadline)
        # There is no job here, so a polled request ends within one call too.
        request = self._prepared(request.lowered(SYNC_LIMIT, "Dify waits no longer"))

        def send(place: int) -> Partial:
            return read_v2beta(self.post(self._call(request, place), deadline), sent_seed=_seed(request, place))

        return self.result(request, collected(together(send, range(request.n), at_once=AT_ONCE)))

    @override
    def _prepared(self, request: ImageRequest) -> ImageRequest:
        self._check_choices(request)
        first = size_of(request.images[0])
        if max(first) > self.facts.max_ratio * min(first):
            allowed = f"sides up to {self.facts.max_ratio:g} to 1"
            raise BadRequest(f"{self.model.name} takes images with {allowed}; this one is {written(first)}")
        edited = fitted(replace(request, images=request.images[:1]), _limits(self.facts, first))
        others = [fit(image, _limits(self.facts, size_of(image))) for image in request.images[1:]]
        images = (*edited.images, *(image for image, _ in others))
        return replace(edited, images=images).with_notices(*(said for _, changes in others for said in changes))

    def _check_choices(self, request: ImageRequest) -> None:
        """Raises BadRequest where none of the parameters is set of which the service needs one."""
        values = {**request.extra, "prompt": request.prompt}
        if self.facts.some_of and not any(values.get(name) for name in self.facts.some_of):
            names = ", ".join(f"`{name}`" for name in self.facts.some_of)
            raise BadRequest(f"{self.model.name} needs at least one of {names}")

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        started = parse(self.post(self._call(request, place), deadline), StartedJob, attempt=ATTEMPT)
        return Task(id=started.id, seed=_seed(request, place))

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        accept = (HTTPStatus.NOT_FOUND,)
        path = f"/v2beta/results/{task.id}"
        reply = self.service.request(
            "GET", path, attempt=_LOOK, deadline=deadline, retries=ONCE, accept=accept, brings_result=True
        )
        if reply.status == HTTPStatus.NOT_FOUND:
            step = "Start it again; jobs are kept for 24 hours, for the key that started them"
            raise ServerUnavailable(f"{ATTEMPT} failed", "the service no longer has the job", step)
        return Running("running") if reply.status == HTTPStatus.ACCEPTED else reply

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        return read_v2beta(reply, sent_seed=task.seed or 0)

    def _call(self, request: ImageRequest, place: int) -> StabilityCall:
        return StabilityCall(self.facts.path, _seed(request, place), form=form_of(self.facts, request, place))


def form_of(facts: EditModel, request: ImageRequest, place: int) -> Mapping[str, FormField]:
    """The parts of one call; `place` is the number of the image, counted from 0."""
    wanted = output_format(request)
    values: dict[str, object] = {
        facts.prompt: request.prompt,
        "negative_prompt": request.negative_prompt,
        "style_preset": request.style_preset,
        "seed": _seed(request, place) if facts.seed else None,
        "output_format": wanted if wanted in facts.formats else facts.formats[0],
        **{field: request.extra.get(name) for name, field in facts.fields.items()},
    }
    if facts.ratios and request.size:
        values["aspect_ratio"] = V2BetaModel.ratios.nearest_ratio(request.size)
    images = dict(zip((facts.image, facts.second_image), request.images, strict=False))
    shown: dict[str, InputImage | None] = {**images, **({facts.mask: request.mask} if facts.mask else {})}
    plain = {name: _plain(value) for name, value in values.items() if name and value not in {None, ""}}
    return {**texts(plain), **files(**shown)}


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _seed(request: ImageRequest, place: int) -> int:
    return request.seeds[place] if request.seeds else 0


def _limits(facts: EditModel, size: tuple[int, int]) -> InputLimits:
    """The service bounds the area; for an image of this size that is a longest side."""
    scale = min(1.0, math.sqrt(facts.max_area / math.prod(size)))
    return replace(INPUT_LIMITS, max_side=min(facts.max_side, math.floor(max(size) * scale)))
