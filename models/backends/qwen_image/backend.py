"""Model Studio's image models: text-to-image, editing by instruction, masks and outpainting.

Models with an asynchronous API use it, so that a long job survives a lost connection; the others reply at once. A
request for more images than one call makes becomes several calls or tasks, run concurrently at the model's rate.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import override

from models.backends.base import SYNC_LIMIT, Backend, Capabilities, Job, Model, Running
from models.backends.http import ONCE
from models.backends.partial import Partial, collected, together
from models.backends.qwen_image.durations import UsualDuration
from models.backends.qwen_image.models import SEEDS, QwenModel, family_of, is_known, model_for
from models.backends.qwen_image.tasks import StudioTasks
from models.backends.qwen_image.videos import WanVideo, is_video
from models.backends.qwen_image.wire import Plan, StudioBody, plan
from models.backends.reply import Reply
from models.backends.tasks import Task, TaskJob
from models.catalog import card_for
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, Price
from models.images.inputs import fitted, hard_edged, size_of
from models.parameters import Rule
from models.settings import Settings
from models.sizes import SeedRule, SizeRule

EXPIRY = "The address in `image_url` is public and expires 24 hours after the image was made."


class QwenImage(StudioTasks):
    facts: QwenModel

    @override
    @classmethod
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> Backend:
        """A model that makes videos is bound to a class of its own."""
        makes_videos = is_video(settings.text("remote_model") or name)
        return WanVideo.bind(name, settings, clock) if makes_videos else super().bind(name, settings, clock)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.facts = model_for(model.remote)
        self.like = "" if is_known(model.remote) else family_of(model.remote)
        self._began = clock.now()  # of the job, if this call started it
        self._plan = Plan(None, (), ())

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self.facts.images, min_images=self.facts.min_images, mask=self.facts.mask)

    @override
    def rules(self) -> tuple[Rule, ...]:
        card = self.model.card or card_for(self.name, family_of(self.model.remote))
        return card.rules if card else ()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return self.facts.sizes_beside(size_of(request.images[-1]) if request.images else None)

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return SEEDS

    @override
    def interval(self, elapsed: float) -> float:
        return self._usual.pause(elapsed)

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        self.require_region()
        request = fitted(request, self.facts.input_limits)
        if request.mask:
            request = replace(request, mask=hard_edged(request.mask))
        asynchronous = not self.account.token_plan
        self._plan = plan(request, self.facts, self.model.remote, asynchronous=asynchronous)
        request, self._began = request.with_notices(*self._plan.notices), self.clock.now()
        if self._plan.jobs:
            return super()._submit(request.with_notices(EXPIRY), deadline)
        # The service has no job here, so a polled request ends within one call too.
        return self._answered(request.lowered(SYNC_LIMIT, "Dify waits no longer"), deadline)

    @override
    def check(self, job: Job) -> Running | ImageResult:
        looked, seen = self.clock.now(), super().check(job)
        if self.in_one_call and isinstance(seen, ImageResult):
            self._usual.learn(looked - self._began)
        return seen

    def _answered(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        studio = self.studio

        def send(call: StudioBody) -> Partial:
            output = studio.generate(call, deadline=deadline)
            return studio.images(output, call.parameters.seed, deadline=deadline)

        calls = self._plan.calls
        outcomes = together(send, calls, at_once=len(calls), wait=self._turns(deadline))
        made, sent = collected(outcomes), sum(isinstance(outcome, Partial) for outcome in outcomes)
        price = self._priced(made, len(request.images) * sent, extended=bool(request.prompt_extend))
        return self.result(request, made, (EXPIRY,), price)

    @override
    def _task_count(self, request: ImageRequest) -> int:
        return len(self._plan.calls)

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        assert self._plan.jobs  # noqa: S101 -- `_submit` starts tasks for such a plan only
        call = self._plan.calls[place]
        return Task(id=self.studio.submit(self._plan.jobs, call, deadline=deadline), seed=call.parameters.seed)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        studio = self.studio
        return studio.images(studio.output(reply), task.seed or 0, deadline=deadline, retries=ONCE)

    @override
    def _price(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> Price | None:
        return self._priced(made, job.input_images * len(succeeded))

    def _priced(self, made: Partial, input_images: int, *, extended: bool = False) -> Price | None:
        prices = self.facts.prices.get(self.account.region or "")
        return prices.of(made.images, input_images, extended=extended) if prices else None

    @property
    def _usual(self) -> UsualDuration:
        return UsualDuration(self.service, self.model.remote, self.facts.usual_seconds)
