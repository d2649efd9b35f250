"""Qwen-Image at Alibaba Cloud Model Studio: text-to-image, editing by instruction, masks and outpainting.

Models with an asynchronous API use it, so that a long job survives a lost connection; the others reply at once. A
request for more images than one call makes becomes several calls or tasks, run concurrently at the model's rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeGuard, override

from pydantic import BaseModel

from models.backends.base import PROBE_SECONDS, SYNC_LIMIT, Capabilities, Job, JobBackend, Model, Running
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import ONCE, timed_out
from models.backends.partial import Partial, collected, first_failure, together
from models.backends.qwen_image.account import REGIONS, Account, RefusalContext, explain, read_account
from models.backends.qwen_image.client import GENERATE, ModelStudio
from models.backends.qwen_image.durations import UsualDuration
from models.backends.qwen_image.models import BACKEND, SEEDS, JobApi, family_of, is_known, model_for
from models.backends.qwen_image.wire import Output, StudioBody, plan
from models.backends.reply import Explanation, Reply
from models.backends.trail import note_queued
from models.catalog import card_for
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import fitted, hard_edged, size_of
from models.parameters import Rule, load_rules
from models.sizes import SeedRule, SizeRule

EXPIRY = "The address in `image_url` is public and expires 24 hours after the image was made."
_FETCH_SECONDS = 120.0
_LAST_SECONDS = 4.0  # for each step with a job that is given up
_POLLS_AT_ONCE = 5
_UNFINISHED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


class QwenTask(BaseModel):
    id: str
    seed: int


class QwenJob(BaseModel):
    """The service's tasks and what the result will need; `input_images` went along with each task, `started` is in
    seconds since the epoch."""

    tasks: tuple[QwenTask, ...]
    started: float
    prompt: str
    n: int
    input_images: int
    notices: tuple[str, ...]


class QwenImage(JobBackend):
    name: ClassVar[str] = BACKEND
    free_to_cancel: ClassVar[bool] = True  # the service refuses to cancel a running task
    title: ClassVar[str] = "Qwen-Image (Model Studio)"
    prefix: ClassVar[str] = "dashscope"
    required: ClassVar[tuple[str, ...]] = ("api_key",)
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._facts = model_for(model.remote)

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=self._facts.images,
            min_images=self._facts.min_images,
            mask=self._facts.mask,
            second_image="mask" if self._facts.mask else "image",
        )

    @override
    def rules(self) -> tuple[Rule, ...]:
        card = self.model.card or card_for(self.name, family_of(self.model.remote))
        return card.rules if card else ()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return self._facts.sizes_beside(size_of(request.images[-1]) if request.images else None)

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return SEEDS

    @property
    @override
    def address(self) -> str:
        return self._account.base_url

    @override
    def explain(self, reply: Reply) -> Explanation:
        return explain(self._context, reply)

    @override
    def check_access(self) -> Sequence[str]:
        self._studio.check_key(self.within(PROBE_SECONDS))
        if is_known(self.model.remote):
            return ()
        return (f"{self.model.remote} is not a known model; it is treated like {family_of(self.model.remote)}.",)

    @override
    def interval(self, elapsed: float) -> float:
        return self._usual.pause(elapsed)

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        self._require_region()
        request = fitted(request, self._facts.input_limits)
        if request.mask:
            request = replace(request, mask=hard_edged(request.mask))
        asynchronous = not self._account.token_plan
        planned = plan(request, self._facts, self.model.remote, asynchronous=asynchronous)
        request = request.with_notices(*planned.notices)
        if planned.jobs:
            return self._start(planned.jobs, planned.calls, request, deadline)
        # The service has no job here, so a polled request ends within one call too.
        return self._answered(planned.calls, request.lowered(SYNC_LIMIT, "Dify waits no longer"), deadline)

    @override
    def check(self, job: Job) -> Running | ImageResult:
        state = QwenJob.model_validate(job)
        seen = self._poll(state.tasks, self.look_deadline())
        if passing := next((one for one in seen if isinstance(one, ImageError) and one.transient), None):
            raise passing
        waiting = [one.task_status for one in seen if _unfinished(one)]
        if waiting:
            if set(waiting) == {"PENDING"}:
                note_queued(self.clock)
            return Running(_progress(waiting, len(seen)))
        if self.in_one_call and any(map(_succeeded, seen)):
            self._usual.learn(self.clock.now() - state.started)
        # Images are fetched when all tasks have ended: one that cannot be had at the moment is tried with the next poll.
        made = self._fetched(state, seen, _FETCH_SECONDS)
        if passing := next((failure for failure in made.failures if failure.transient), None):
            raise passing
        return self._delivered(state, seen, made)

    @override
    def finished_part(self, job: Job) -> ImageResult | None:
        state = QwenJob.model_validate(job)
        seen = self._poll(state.tasks, self.within(_LAST_SECONDS))
        ended = [pair for pair in zip(state.tasks, seen, strict=True) if not _unfinished(pair[1])]
        if not any(_succeeded(one) for _, one in ended):
            return None
        state, seen = state.model_copy(update={"tasks": [task for task, _ in ended]}), [one for _, one in ended]
        return self._delivered(state, seen, self._fetched(state, seen, _LAST_SECONDS))

    @override
    def cancel(self, job: Job) -> None:
        """Cancel the queued tasks; the service finishes and bills the running ones."""
        studio, deadline, failures = self._studio, self.within(_LAST_SECONDS), []
        for task in QwenJob.model_validate(job).tasks:
            try:
                if _unfinished(studio.poll(task.id, deadline=deadline)):
                    studio.cancel(task.id, deadline=deadline)
            except ImageError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _answered(self, calls: Sequence[StudioBody], request: ImageRequest, deadline: Deadline) -> ImageResult:
        studio = self._studio

        def send(call: StudioBody) -> Partial:
            output = studio.generate(call, deadline=deadline)
            return studio.images(output, call.parameters.seed, deadline=deadline)

        outcomes = self._at_rate(send, calls, deadline)
        sent = sum(isinstance(outcome, Partial) for outcome in outcomes)
        return self._priced(request, collected(outcomes), len(request.images) * sent)

    def _start(self, api: JobApi, calls: Sequence[StudioBody], request: ImageRequest, deadline: Deadline) -> Job:
        studio, started = self._studio, self.clock.now()

        def send(call: StudioBody) -> QwenTask:
            return QwenTask(id=studio.submit(api, call, deadline=deadline), seed=call.parameters.seed)

        outcomes = self._at_rate(send, calls, deadline)
        tasks = tuple(outcome for outcome in outcomes if isinstance(outcome, QwenTask))
        failures = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
        if not tasks:
            raise first_failure(failures)
        return QwenJob(
            tasks=tasks,
            started=started,
            prompt=request.prompt,
            n=request.n,
            input_images=len(request.images),
            notices=(*request.notices, *dict.fromkeys(map(str, failures))),
        ).model_dump(mode="json")

    def _at_rate[T](
        self, send: Callable[[StudioBody], T], calls: Sequence[StudioBody], deadline: Deadline
    ) -> list[T | ImageError]:
        """Send the calls concurrently at the model's rate. A call that is due after the deadline fails."""
        start, interval = self.clock.now(), 60 / self._facts.requests_per_minute

        def wait(place: int) -> None:
            due = start + place * interval
            if due > deadline.at:
                raise timed_out(GENERATE)
            if (pause := due - self.clock.now()) > 0:
                self.clock.sleep(pause)

        return together(send, calls, at_once=len(calls), wait=wait)

    def _poll(self, tasks: Sequence[QwenTask], deadline: Deadline) -> list[Output | ImageError]:
        studio = self._studio

        def seen(task: QwenTask) -> Output | ImageError:
            try:
                return studio.poll(task.id, deadline=deadline)
            except ImageError as error:
                error.undone = False  # of the question nothing came; the task exists
                return error

        return together(seen, tasks, at_once=_POLLS_AT_ONCE)

    def _fetched(self, job: QwenJob, seen: Sequence[Output | ImageError], seconds: float) -> Partial:
        deadline = self.within(seconds)
        return collected(self._finished(one, task.seed, deadline) for task, one in zip(job.tasks, seen, strict=True))

    def _delivered(self, job: QwenJob, seen: Sequence[Output | ImageError], made: Partial) -> ImageResult:
        succeeded = sum(map(_succeeded, seen))
        request = ImageRequest(model=self.model.name, prompt=job.prompt, n=job.n, notices=job.notices)
        return self._priced(request, made, job.input_images * succeeded)

    def _finished(self, output: Output | ImageError, seed: int, deadline: Deadline) -> Partial | ImageError:
        if isinstance(output, ImageError):
            return output
        match output.task_status:
            case "SUCCEEDED":
                return self._studio.images(output, seed, deadline=deadline, retries=ONCE)
            case "FAILED":
                error = self._studio.failure(output)
                error.transient = False  # the task has ended, whatever the reason
                return error
            case "CANCELED":
                return ServerUnavailable(f"{GENERATE} failed", "the job was cancelled at the service", "Start it again")
            case status:
                return ServerUnavailable(
                    f"{GENERATE} failed",
                    f"the service no longer has the job ({status})",
                    "Start it again; jobs are kept for 24 hours, for keys of the same account in "
                    f"{self._account.place} only",
                )

    def _priced(self, request: ImageRequest, made: Partial, input_images: int) -> ImageResult:
        prices = self._facts.prices.get(self._account.region or "")
        extended = bool(request.prompt_extend)
        price = prices.of(made.images, input_images, extended=extended) if prices else None
        return self.result(request, made, (EXPIRY,), price)

    @property
    def _usual(self) -> UsualDuration:
        return UsualDuration(self.service, self.model.remote, self._facts.usual_seconds)

    @property
    def _account(self) -> Account:
        return read_account(self.model.access)

    @property
    def _context(self) -> RefusalContext:
        return RefusalContext(self._account, self.model.remote, self._facts.regions, self._facts.requests_per_minute)

    @property
    def _studio(self) -> ModelStudio:
        return ModelStudio(self.service, self._context)

    def _require_region(self) -> None:
        account = self._account
        if account.region and account.region not in self._facts.regions:
            offered = " and ".join(REGIONS[name].title for name in self._facts.regions)
            raise BadRequest(
                f"{self.model.name} is offered in {offered}, not in {account.place}",
                next_step=f"Choose another model, or use a key of that region and choose it in "
                f"{account.access.where('region')}",
            )


def _unfinished(seen: Output | ImageError) -> TypeGuard[Output]:
    return isinstance(seen, Output) and seen.task_status in _UNFINISHED


def _succeeded(seen: Output | ImageError) -> bool:
    return isinstance(seen, Output) and seen.task_status == "SUCCEEDED"


def _progress(waiting: Sequence[str], tasks: int) -> str:
    word = "queued" if all(status == "PENDING" for status in waiting) else "running"
    return word if tasks == 1 else f"{word}, {tasks - len(waiting)} of {tasks} finished"
