"""Qwen-Image at Alibaba Cloud Model Studio: text-to-image, editing by instruction, masks and outpainting.

Models with an asynchronous API are asked there, so that a long job outlives a lost connection; the others answer at
once. A request for more images than one call makes becomes several calls or tasks.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel

from models.backends.base import Capabilities, Job, JobBackend, Model, Running, within_one_call
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import timed_out
from models.backends.partial import Made
from models.backends.qwen_image.account import REGIONS, Account, read_account
from models.backends.qwen_image.build import MAX_SEED, Call, checked_seed, plan
from models.backends.qwen_image.client import GENERATE, ModelStudio
from models.backends.qwen_image.facts import BACKEND, JobApi, facts_for, family_of, is_known
from models.backends.qwen_image.images import fitted
from models.backends.qwen_image.refusals import Asked
from models.backends.qwen_image.results import EXPIRY, Fetcher, price_of
from models.backends.qwen_image.rules import EXTRA_RULES
from models.backends.qwen_image.wire import Failure, Output
from models.catalog import card_for
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.parameters import Rule

_FETCH_SECONDS = 120.0
_UNFINISHED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


class _Task(BaseModel):
    id: str
    seed: int


class _State(BaseModel):
    """A job between two looks: the service's tasks and what the result will need. `n` is what the user asked for."""

    tasks: tuple[_Task, ...]
    prompt: str
    n: int
    input_images: int
    notices: tuple[str, ...]


class QwenImage(JobBackend):
    name: ClassVar[str] = BACKEND
    title: ClassVar[str] = "Qwen-Image (Model Studio)"
    prefix: ClassVar[str] = "dashscope"
    required: ClassVar[tuple[str, ...]] = ("api_key",)
    extra_rules: ClassVar[tuple[Rule, ...]] = EXTRA_RULES

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.facts = facts_for(model.remote)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images=self.facts.images,
            min_images=self.facts.min_images,
            mask=self.facts.mask,
            second_image="mask" if self.facts.mask else "image",
        )

    def rules(self) -> tuple[Rule, ...]:
        """A model of the user's own is given the parameters of the known model that it resembles."""
        card = self.model.card or card_for(self.name, family_of(self.model.remote))
        return card.rules if card else ()

    def check_access(self) -> Sequence[str]:
        self.require_access()
        self._client().check_key()
        if is_known(self.model.remote):
            return ()
        return (f"{self.model.remote} is not a model of this plugin; it is asked like {family_of(self.model.remote)}.",)

    def submit(self, request: ImageRequest) -> Job | ImageResult:
        self.require_access()
        self.check_inputs(request)
        client = self._client()
        self._require_region(client.asked.account)
        request = fitted(request, self.facts)
        seed = random.SystemRandom().randrange(MAX_SEED + 1) if request.seed is None else checked_seed(request.seed)
        asynchronous = not client.asked.account.token_plan
        planned = plan(request, self.facts, self.model.remote, seed=seed, asynchronous=asynchronous)
        request = replace(request, notices=(*request.notices, *planned.notices))
        if planned.jobs:
            return self._start(client, planned.jobs, planned.calls, request)
        return self._generate(client, planned.calls, request)

    def check(self, job: Job) -> Running | ImageResult:
        state = _State.model_validate(job)
        client = self._client()
        outputs = [client.look(task.id) for task in state.tasks]
        waiting = [output.task_status for output in outputs if output.task_status in _UNFINISHED]
        if waiting:
            return Running(_progress(waiting, len(outputs)))
        made = Made()
        for task, output in zip(state.tasks, outputs, strict=True):
            made += self._finished(client, output, task.seed)
        request = ImageRequest(model=self.model.name, prompt=state.prompt, n=state.n, notices=state.notices)
        return self._result(client, request, made, state.input_images)

    def cancel(self, job: Job) -> None:
        """Take the tasks that still wait out of the queue; the service finishes and bills the running ones."""
        client, troubles = self._client(), []
        for task in _State.model_validate(job).tasks:
            try:
                client.cancel(task.id)
            except ImageError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def interval(self, elapsed: float) -> float:
        """Two seconds for a young job, five for an old one: all jobs of an account share 20 looks a second."""
        return min(5.0, 2.0 + elapsed / 20)

    def _generate(self, client: ModelStudio, calls: Sequence[Call], request: ImageRequest) -> ImageResult:
        request = within_one_call(request)  # also of a polled request: the service makes no job of it
        deadline = self.deadline(request)

        def send(call: Call) -> Made:
            return self._fetched(client, client.generate(call.body, deadline=deadline), call.seed, deadline)

        parts, failures = self._each(calls, send, deadline)
        made = sum(parts, Made()) + Made(failures=failures)
        return self._result(client, request, made, len(request.images) * len(parts))

    def _start(self, client: ModelStudio, api: JobApi, calls: Sequence[Call], request: ImageRequest) -> Job:
        deadline = self.deadline(request)

        def send(call: Call) -> _Task:
            return _Task(id=client.submit(api, call.body, deadline=deadline), seed=call.seed)

        tasks, failures = self._each(calls, send, deadline)
        return _State(
            tasks=tuple(tasks),
            prompt=request.prompt,
            n=request.n,
            input_images=len(request.images) * len(tasks),
            notices=(*request.notices, *map(str, failures)),
        ).model_dump(mode="json")

    def _each[T](
        self, calls: Sequence[Call], send: Callable[[Call], T], deadline: Deadline
    ) -> tuple[list[T], tuple[ImageError, ...]]:
        """Ask once per call at the model's rate, up to the first failure; that one is raised if nothing came before."""
        done: list[T] = []
        due = self.clock.now()
        for call in calls:
            try:
                self._wait_until(due, deadline)
                due = self.clock.now() + 60 / self.facts.requests_per_minute
                done.append(send(call))
            except ImageError as error:
                if not done:
                    raise
                return done, (error,)
        return done, ()

    def _wait_until(self, due: float, deadline: Deadline) -> None:
        if due > deadline.at:
            raise timed_out(GENERATE)
        if (pause := due - self.clock.now()) > 0:
            self.clock.sleep(pause)

    def _finished(self, client: ModelStudio, output: Output, seed: int) -> Made:
        match output.task_status:
            case "SUCCEEDED":
                return self._fetched(client, output, seed, Deadline.after(self.clock, _FETCH_SECONDS))
            case "FAILED":
                return Made(failures=(client.failure(Failure(code=output.code, message=output.message)),))
            case status:
                return Made(failures=(_lost(status, client.asked.account),))

    def _fetched(self, client: ModelStudio, output: Output, seed: int, deadline: Deadline) -> Made:
        named = [picture for picture in output.pictures if picture.url]
        failed = [client.failure(picture.failure) for picture in output.pictures if not picture.url]
        fetcher = Fetcher(self.clock, client.asked.account.base_url)
        return Made(failures=tuple(failed)) + fetcher.fetch_all(named, seed=seed, deadline=deadline)

    def _result(self, client: ModelStudio, request: ImageRequest, made: Made, input_images: int) -> ImageResult:
        missing = made.notices(request.n)
        price = price_of(self.facts.prices.get(client.asked.account.region or ""), made.images, input_images)
        return self.result(request, made.images, (EXPIRY, *missing), price)

    def _client(self) -> ModelStudio:
        account = read_account(self.model.access)
        asked = Asked(account, self.model.remote, self.facts.regions, self.facts.requests_per_minute)
        return ModelStudio(asked, self.clock)

    def _require_region(self, account: Account) -> None:
        if account.region and account.region not in self.facts.regions:
            offered = " and ".join(REGIONS[name].title for name in self.facts.regions)
            raise BadRequest(
                f"{self.model.name} is offered in {offered}, not in {account.place}",
                next_step=f"Choose another model, or use a key of that region and say so in "
                f"`{account.access.field('region')}` {account.access.place}",
            )


def _progress(waiting: Sequence[str], tasks: int) -> str:
    word = "queued" if all(status == "PENDING" for status in waiting) else "running"
    return word if tasks == 1 else f"{word}, {tasks - len(waiting)} of {tasks} finished"


def _lost(status: str, account: Account) -> ServerUnavailable:
    if status == "CANCELED":
        return ServerUnavailable(f"{GENERATE} failed", "the job was cancelled at the service", "Start it again")
    return ServerUnavailable(
        f"{GENERATE} failed",
        f"the service no longer knows the job ({status})",
        f"Start it again; jobs are kept for 24 hours, for keys of the same account in {account.place} only",
    )
