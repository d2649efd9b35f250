"""The way of a request, from the host's call to a finished result: one code for one call, a stream and polling.

With jobs the way is cut in the middle. The first half runs where the job starts, the second wherever its end is seen,
perhaps in another process; what the second half needs travels in `plugin_state` as plain JSON, without secrets and
images.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import gevent
from gevent.queue import SimpleQueue
from pydantic import BaseModel, JsonValue, ValidationError

from models import stages
from models.backends import registry
from models.backends.base import SYNC_LIMIT, Backend, Job, JobBackend
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import TimedOutError
from models.clock import Clock, Deadline, SystemClock
from models.entities import ImageRequest, ImageResult
from models.output.structured import OutputOptions, OutputSchema
from models.request.build import build_request
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.audit import Receipt
from models.stages.carried import Carried

HOLD = 0.8
"""Seconds for which a polling call watches its job before it answers."""
_MOST_CHECKS = 220  # of the 240 that the host makes
_LONGEST_PAUSE = 30  # seconds; the host does not wait longer between two checks
_LEARN_SECONDS = 30.0  # in which a server says what a request depends on, before the request is read
POLLED_LIMIT = 6900.0
"""Seconds; the host throws a polled job away after two hours."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the host hands over for one request. `json_schema` is the structured output's schema, as it was sent."""

    conversation: Conversation
    parameters: Mapping[str, object]
    json_schema: object = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A result that has passed every stage. `duration` is seconds since the request was handed in."""

    result: ImageResult
    options: OutputOptions
    duration: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that goes on: what the host must bring back, and after how many whole seconds."""

    state: dict[str, JsonValue]
    next_check: int


class _State(BaseModel):
    """`plugin_state`. Epoch seconds; whole floats may come back as ints."""

    job: dict[str, JsonValue]
    timeout: float
    carried: Carried


@dataclass(frozen=True, slots=True)
class _Order:
    """A request on its way: everything that both halves need."""

    backend: Backend
    settings: Settings
    carried: Carried
    observers: Sequence[stages.Observer]

    @property
    def receipt(self) -> Receipt:
        return self.carried.receipt

    def before(self, request: ImageRequest) -> ImageRequest | ImageResult:
        """The request after the stages before the service, or the answer of one of them."""
        for stage in stages.before_service(self.settings, self.carried.options):
            outcome = stage(request, self.carried)
            if isinstance(outcome, ImageResult):
                return outcome
            request = outcome
        return request

    def finished(self, result: ImageResult) -> Finished:
        for stage in stages.after_service(self.settings, self.carried.options):
            result = stage(result, self.carried)
        result = result.priced(self.backend.price_per_image)
        duration = self.backend.clock.now() - self.receipt.time
        self.tell(self.receipt.succeeded(result, duration))
        return Finished(result, self.carried.options, duration)

    def waiting(self, job: Job, timeout: float) -> Waiting:
        state = _State(job=job, timeout=timeout, carried=self.carried)
        pause = max(1, min(_LONGEST_PAUSE, math.ceil(timeout / _MOST_CHECKS)))
        return Waiting(state.model_dump(mode="json"), pause)

    def watched(self, backend: JobBackend, job: Job, timeout: float) -> Waiting | Finished:
        """Look at a job for a moment; one past its deadline is given up."""
        deadline = Deadline(backend.clock, self.receipt.time + timeout)
        seen = backend.watch(job, deadline.earlier(HOLD), started=self.receipt.time)
        if isinstance(seen, ImageResult):
            return self.finished(seen)
        if deadline.passed:
            return self.finished(backend.give_up(job, seen))
        return self.waiting(job, timeout)

    def tell(self, receipt: Receipt) -> None:
        for observer in self.observers:
            observer(receipt)

    @contextmanager
    def observed(self, *, handed_over: bool = True) -> Iterator[None]:
        """Tell the observers of a failure inside the block. `handed_over`: the backend has the request."""
        try:
            yield
        except Exception as error:
            self.tell(self.receipt.failed(error, self.backend.clock.now(), handed_over=handed_over))
            raise


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the host: which model, with which settings, for which end user."""

    backend: Backend
    settings: Settings
    user: str = ""

    @property
    def model(self) -> str:
        """The model's name in Dify."""
        return self.backend.model.name

    @classmethod
    def of(cls, model: str, credentials: Mapping[str, object], user: str | None, clock: Clock | None = None) -> "Call":
        """Raises BadRequest for a model that does not exist and for a form that cannot be read."""
        settings = Settings(credentials)
        try:
            return cls(registry.bind(model, settings, clock), settings, user or "")
        except ImageError as error:
            now = (clock or SystemClock()).now()
            receipt = Receipt(time=now, user=user or "", model=model, backend=settings.text("backend"))
            for observer in stages.observers(settings):
                observer(receipt.failed(error, now, handed_over=False))
            raise

    def generate(self, asked: Asked) -> Finished:
        """Generate in one call. Raises ImageError."""
        order, answer = self._settled(asked, SYNC_LIMIT, f"Dify waits no longer. {self._way_to_more_time()}")
        with order.observed():
            return order.finished(answer if isinstance(answer, ImageResult) else self._invoked(answer))

    def narrated(self, asked: Asked) -> Iterator[str | Finished]:
        """`generate`, and before it a few words for each change of the job's state ("queued 2nd", "step 12/30")."""
        seen: SimpleQueue[str | Finished | BaseException] = SimpleQueue()
        self.backend.on_progress = lambda running: seen.put(running.progress)

        def work() -> None:
            try:
                seen.put(self.generate(asked))
            except BaseException as error:  # noqa: BLE001 -- raised below; gevent would print it first
                seen.put(error)

        gevent.spawn(work)
        told: str | Finished = ""
        while not isinstance(told, Finished):
            step = seen.get()
            if isinstance(step, BaseException):
                raise step
            if step and step != told:
                yield step
                told = step

    def start(self, asked: Asked) -> Waiting | Finished:
        """Hand a request in and look at its job for a moment. Raises ImageError."""
        backend = self.backend
        if not isinstance(backend, JobBackend):
            return self.generate(asked)
        order, answer = self._settled(asked, POLLED_LIMIT, "Dify waits no longer")
        with order.observed():
            if isinstance(answer, ImageResult):
                return order.finished(answer)
            job = backend.submit(answer)
            return order.finished(job) if isinstance(job, ImageResult) else order.watched(backend, job, answer.timeout)

    def check(self, plugin_state: Mapping[str, JsonValue]) -> Waiting | Finished:
        """Go on with a job that any process handed in. Transient trouble keeps it waiting. Raises ImageError."""
        order = self._order()
        with order.observed():
            order, backend, state = self._resumed(order, plugin_state)
        with order.observed():
            return order.watched(backend, dict(state.job), state.timeout)

    def _resumed(self, order: _Order, plugin_state: Mapping[str, JsonValue]) -> tuple[_Order, JobBackend, _State]:
        backend = self.backend
        backend.require_access()  # a field may have been emptied while the job ran
        if not isinstance(backend, JobBackend):
            raise ServerUnavailable(
                f"{backend.model.name} has no jobs to check",
                next_step="The model's settings changed while it ran; run it again",
            )
        try:
            state = _State.model_validate(plugin_state)
        except ValidationError:
            raise ServerUnavailable(
                f"The state of {backend.model.name}'s job cannot be read",
                next_step="The plugin was replaced by another version while it ran; run it again",
            ) from None
        return replace(order, carried=state.carried), backend, state

    def _order(self) -> _Order:
        backend = self.backend
        receipt = Receipt(time=backend.clock.now(), user=self.user, model=self.model, backend=backend.name)
        return _Order(backend, self.settings, Carried(receipt=receipt), stages.observers(self.settings))

    def _settled(self, asked: Asked, longest: float, why: str) -> tuple[_Order, ImageRequest | ImageResult]:
        """What may be handed over, or the answer of a stage in its place. Raises ImageError.

        A `timeout` of more than `longest` seconds is lowered with a notice that says `why`.
        """
        order = self._order()
        with order.observed(handed_over=False):
            order, request = self._read(order, asked)
        with order.observed(handed_over=False):
            self.backend.check_inputs(request)
            return order, order.before(request.lowered(longest, why))

    def _read(self, order: _Order, asked: Asked) -> tuple[_Order, ImageRequest]:
        """The settled request, and the order with what is known since. Raises ImageError."""
        backend = self.backend
        backend.require_access()
        schema = OutputSchema.read(asked.json_schema)
        backend.learn(backend.within(_LEARN_SECONDS))
        request = build_request(backend, asked.conversation, asked.parameters, timeout=SYNC_LIMIT)
        if schema:
            known: dict[str, JsonValue] = {"model": request.model, "backend": backend.name}
            gives = backend.gives(request) | stages.gives(self.settings, request)
            request = request.with_notices(*schema.check(gives, known, request.model))
        options = OutputOptions.of(request, schema)
        carried = Carried(
            receipt=order.receipt.of(request),
            options=options,
            price_per_image=backend.price_per_image,
            has_negative_prompt=any(rule.name == "negative_prompt" for rule in backend.rules()),
        )
        return replace(order, carried=carried), request

    def _invoked(self, request: ImageRequest) -> ImageResult:
        if request.timeout >= SYNC_LIMIT:
            self.backend.more_time = self._way_to_more_time()
        try:
            return self.backend.invoke(request)
        except TimedOutError as late:
            if not late.transient:  # a server that answers no question is not helped by more time
                late.next_step = self.backend.more_time or late.next_step
            raise

    def _way_to_more_time(self) -> str:
        if isinstance(self.backend, JobBackend):
            return f"For jobs that take longer, set {self.settings.where('waiting')} to polling"
        return "Ask for less: fewer or smaller images"
