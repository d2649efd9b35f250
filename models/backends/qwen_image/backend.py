"""Qwen-Image at Alibaba Cloud Model Studio: text-to-image, editing by instruction, masks and outpainting.

Source: Model Studio, Qwen-Image API, Wan image editing API, task API. Models with an asynchronous API are asked
there, so that a long job outlives a lost connection; the others answer at once.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import ClassVar

from pydantic import BaseModel

from models.backends.base import Capabilities, Job, JobBackend, Model, Running
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import ONCE, Retries, Service, bearer_auth, timed_out
from models.backends.qwen_image.account import REGIONS, Account, read_account
from models.backends.qwen_image.build import MAX_SEED, Call, Plan, checked_seed, plan
from models.backends.qwen_image.facts import BACKEND, facts_for, family_of
from models.backends.qwen_image.pictures import fitted
from models.backends.qwen_image.refusals import Asked, explain, explain_failure
from models.backends.qwen_image.results import Fetcher, Made, price_of
from models.backends.qwen_image.rules import EXTRA_RULES
from models.backends.qwen_image.wire import (
    ASYNC_HEADER,
    JOB_PATHS,
    SYNC_PATH,
    Answer,
    CompatibleModelList,
    Failure,
    ModelList,
    Output,
)
from models.backends.reply import parse
from models.catalog import card_for, cards
from models.clock import Clock, Deadline
from models.parameters import Rule
from models.request import ImageRequest
from models.result import ImageResult

_GENERATE = "Generating with Model Studio"
_LOOK = "Looking at the job in Model Studio"
_CANCEL = "Cancelling the job in Model Studio"
_CHECK_KEY = "Checking the key with Model Studio"

_SYNC_SECONDS = 300.0  # the service ends a synchronous call there; several pictures of 3.0 may take twice as long
_TASK_CALL_SECONDS = 60.0
_FETCH_SECONDS = 120.0
_CHECK_SECONDS = 15.0

_UNFINISHED = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


class _Task(BaseModel):
    id: str
    seed: int
    n: int


class _State(BaseModel):
    """A job between two looks: the service's tasks and what the result will need."""

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

    def known_models(self) -> Sequence[str]:
        return [card.model for card in cards().values() if card.backend == self.name]

    def submit(self, request: ImageRequest) -> Job | ImageResult:
        self.require_access()
        self.check_inputs(request)
        account = self._account()
        self._require_region(account)
        seed = random.SystemRandom().randrange(MAX_SEED + 1) if request.seed is None else checked_seed(request.seed)
        request = fitted(request, self.facts)
        planned = plan(request, self.facts, self.model.remote, seed=seed, asynchronous=not account.token_plan)
        request = replace(request, notices=(*request.notices, *planned.notices))
        deadline = self.deadline(request)
        if planned.jobs:
            return self._start(account, planned, request, deadline)
        return self._generate(account, planned, request, deadline)

    def check(self, job: Job) -> Running | ImageResult:
        state = _State.model_validate(job)
        account = self._account()
        outputs = [self._look(account, task) for task in state.tasks]
        waiting = [output.task_status for output in outputs if output.task_status in _UNFINISHED]
        if waiting:
            return Running(_progress(waiting, len(outputs)))
        made = Made()
        for task, output in zip(state.tasks, outputs, strict=True):
            made += self._finished(account, task, output)
        return self._result(
            account,
            ImageRequest(model=self.model.name, prompt=state.prompt, n=state.n, notices=state.notices),
            made,
            state.input_images,
        )

    def cancel(self, job: Job) -> None:
        """Take the tasks that still wait out of the queue; the service finishes and bills the running ones."""
        account = self._account()
        troubles = []
        for task in _State.model_validate(job).tasks:
            try:
                self._service(account).request(
                    "POST",
                    f"tasks/{task.id}/cancel",
                    attempt=_CANCEL,
                    deadline=Deadline.after(self.clock, _TASK_CALL_SECONDS),
                )
            except ImageError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def interval(self, elapsed: float) -> float:
        """Two seconds for a young job, five for an old one: all jobs of an account share 20 looks a second."""
        return min(5.0, 2.0 + elapsed / 20)

    def check_access(self) -> Sequence[str]:
        self.require_access()
        account = self._account()
        if account.token_plan or not self._lists_models(account):
            self._lists_compatible_models(account)
        return ()

    # Submitting

    def _generate(self, account: Account, planned: Plan, request: ImageRequest, deadline: Deadline) -> ImageResult:
        def send(call: Call) -> Made:
            reply = self._service(account).request(
                "POST",
                SYNC_PATH,
                attempt=_GENERATE,
                deadline=deadline,
                json=call.body.json_body(),
                read_timeout=_SYNC_SECONDS * min(2, call.n),
                retries=_retries(),
            )
            output = parse(reply, Answer, attempt=_GENERATE).output
            return self._fetched(account, output, call.seed, deadline)

        parts, failures = self._each(planned.calls, send, deadline)
        made = sum(parts, Made(failures=failures))
        return self._result(account, request, made, len(request.images) * len(parts))

    def _start(self, account: Account, planned: Plan, request: ImageRequest, deadline: Deadline) -> Job:
        def send(call: Call) -> _Task:
            reply = self._service(account).request(
                "POST",
                JOB_PATHS[planned.jobs or ""],
                attempt=_GENERATE,
                deadline=deadline,
                json=call.body.json_body(),
                headers=ASYNC_HEADER,
                retries=_retries(),
            )
            answer = parse(reply, Answer, attempt=_GENERATE)
            return _Task(id=_task_id(answer.output), seed=call.seed, n=call.n)

        tasks, failures = self._each(planned.calls, send, deadline)
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
            raise timed_out(_GENERATE)
        if (pause := due - self.clock.now()) > 0:
            self.clock.sleep(pause)

    # Looking at tasks

    def _look(self, account: Account, task: _Task) -> Output:
        reply = self._service(account).request(
            "GET",
            f"tasks/{task.id}",
            attempt=_LOOK,
            deadline=Deadline.after(self.clock, _TASK_CALL_SECONDS),
        )
        return parse(reply, Answer, attempt=_LOOK).output

    def _finished(self, account: Account, task: _Task, output: Output) -> Made:
        match output.task_status:
            case "SUCCEEDED":
                return self._fetched(account, output, task.seed, Deadline.after(self.clock, _FETCH_SECONDS))
            case "FAILED":
                return Made(failures=(self._failure(account, Failure(code=output.code, message=output.message)),))
            case status:
                return Made(failures=(_lost(status, account),))

    def _fetched(self, account: Account, output: Output, seed: int, deadline: Deadline) -> Made:
        named = [picture for picture in output.pictures if picture.url]
        failed = [self._failure(account, picture.failure) for picture in output.pictures if not picture.url]
        return Made(failures=tuple(failed)) + Fetcher(self.clock, account.base_url).fetch_all(
            named, seed=seed, deadline=deadline
        )

    def _failure(self, account: Account, failure: Failure) -> ImageError:
        meaning = explain_failure(self._asked(account), failure, HTTPStatus.INTERNAL_SERVER_ERROR)
        return self._service(account).failure(_GENERATE, meaning)

    def _result(self, account: Account, request: ImageRequest, made: Made, input_images: int) -> ImageResult:
        notices = list(made.notices(request.n))
        price = price_of(self.facts.prices.get(account.region or ""), made.images, input_images)
        return self.result(request, made.images, notices, price)

    # Access

    def _account(self) -> Account:
        return read_account(self.model.access)

    def _asked(self, account: Account) -> Asked:
        return Asked(account, self.model.remote, self.facts.regions, self.facts.requests_per_minute)

    def _service(self, account: Account, base_url: str = "") -> Service:
        access = account.access
        return Service(
            name="Model Studio",
            base_url=base_url or account.base_url,
            clock=self.clock,
            settings=f"`{access.field('base_url')}` {access.place}",
            headers=bearer_auth(access.api_key),
            secrets=access.secrets,
            explain=partial(explain, self._asked(account)),
        )

    def _require_region(self, account: Account) -> None:
        if account.region and account.region not in self.facts.regions:
            offered = " and ".join(REGIONS[name].title for name in self.facts.regions)
            raise BadRequest(
                f"{self.model.name} is offered in {offered}, not in {account.place}",
                next_step=f"Choose another model, or use a key of that region and say so in "
                f"`{account.access.field('region')}` {account.access.place}",
            )

    def _lists_models(self, account: Account) -> bool:
        """Whether the account lists models; False where the address has no such list."""
        missing = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        reply = self._service(account).request(
            "GET",
            "models",
            attempt=_CHECK_KEY,
            deadline=Deadline.after(self.clock, _CHECK_SECONDS),
            params={"page_no": 1, "page_size": 1},
            retries=ONCE,
            accept=missing,
        )
        return reply.ok and bool(parse(reply, ModelList, attempt=_CHECK_KEY))

    def _lists_compatible_models(self, account: Account) -> None:
        reply = self._service(account, account.compatible_url).request(
            "GET",
            "models",
            attempt=_CHECK_KEY,
            deadline=Deadline.after(self.clock, _CHECK_SECONDS),
            retries=ONCE,
        )
        parse(reply, CompatibleModelList, attempt=_CHECK_KEY)


def _retries() -> Retries:
    """The service names no waits: one or two seconds, then four to eight, spread so that callers do not meet again."""
    draw = random.SystemRandom().uniform
    return Retries(delays=(draw(1, 2), draw(4, 8)))


def _task_id(output: Output) -> str:
    if not output.task_id:
        raise ServerUnavailable(f"{_GENERATE} failed", "the service accepted the job without naming it", "Try again")
    return output.task_id


def _progress(waiting: Sequence[str], tasks: int) -> str:
    word = "queued" if all(status == "PENDING" for status in waiting) else "running"
    return word if tasks == 1 else f"{word}, {tasks - len(waiting)} of {tasks} finished"


def _lost(status: str, account: Account) -> ServerUnavailable:
    if status == "CANCELED":
        return ServerUnavailable(f"{_GENERATE} failed", "the job was cancelled at the service", "Start it again")
    return ServerUnavailable(
        f"{_GENERATE} failed",
        f"the service no longer knows the job ({status})",
        f"Start it again; jobs are kept for 24 hours, for keys of the same account in {account.place} only",
    )
