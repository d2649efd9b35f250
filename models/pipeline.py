"""The way of a request, from the host's call to a finished result: one code for one call, a stream and polling.

With jobs the way is cut in the middle. The first half runs where the job starts, the second wherever its end is seen,
perhaps in another process; what the second half needs travels in `plugin_state` as plain JSON, without secrets and
images.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import gevent
from gevent.queue import SimpleQueue
from pydantic import BaseModel, JsonValue, ValidationError

from models import stages
from models.backends import registry
from models.backends.base import SYNC_LIMIT, Backend, Job, JobBackend
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import TimedOutError
from models.backends.server_pool import version_of
from models.clock import Clock, SystemClock
from models.entities import ImageRequest, ImageResult
from models.limits import Limits
from models.output.structured import OutputOptions, OutputSchema
from models.request.conversation import Conversation
from models.room import leave_room
from models.routing import ModelRequest, ModelRoute, RoutePlan, backend_of
from models.settings import Settings
from models.stages.audit import Receipt
from models.stages.carried import Carried, Following
from models.turns import Turn, Unfinished

HOLD = 0.8
"""Seconds for which a polling call watches its job before it answers."""
_MOST_CHECKS = 220  # of the 240 that the host makes
_LONGEST_PAUSE = 30  # seconds; the host does not wait longer between two checks
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
    """`plugin_state`: `model` has the job. Epoch seconds; whole floats may come back as ints.

    `until` ends the turn of that model, `ends` the job; `plan` says who may be asked next, None: nobody.
    """

    job: dict[str, JsonValue] | None
    """None while another request makes the image."""
    model: str
    until: float
    ends: float
    carried: Carried
    plan: RoutePlan | None = None

    @classmethod
    def read(cls, plugin_state: Mapping[str, JsonValue]) -> "_State | None":
        """None for the state of another version."""
        try:
            return cls.model_validate(plugin_state)
        except ValidationError:
            return None


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

    def before(self, request: ImageRequest) -> ImageRequest | ImageResult | Following:
        """The request after the stages before the service, or the answer of one of them."""
        listed = stages.before_service(self.settings, self.carried.options, self.backend.clock)
        return stages.passed(listed, request, self.carried)

    def finished(self, result: ImageResult) -> Finished:
        for stage in stages.after_service(self.settings, self.carried.options, self.backend.clock):
            result = stage(result, self.carried)
        result = result.priced(self.backend.price_per_image)
        duration = self.backend.clock.now() - self.receipt.time
        self.tell(self.receipt.succeeded(result, duration))
        return Finished(result.answered(self.receipt.model), self.carried.options, duration)

    def waiting(self, turn: Turn, job: Job | None) -> Waiting:
        """`job` is None while another request makes the image."""
        stages.renew(self.settings, self.carried, self.backend.clock)
        state = _State(
            job=job,
            model=turn.backend.model.name,
            until=turn.until,
            ends=turn.ends,
            carried=self.carried,
            plan=turn.route.plan if turn.route else None,
        )
        stages.tell_waiting(self.observers, self.receipt)
        pause = max(1, min(_LONGEST_PAUSE, math.ceil((turn.ends - turn.began) / _MOST_CHECKS)))
        return Waiting(state.model_dump(mode="json"), pause)

    def by(self, backend: Backend, version: str | None = None) -> "_Order":
        """The order with another model, whose facts the stages need. Only the model that was asked has versions."""
        rules = {rule.name for rule in backend.rules()}
        price, has_negative_prompt = backend.price_per_image, "negative_prompt" in rules
        receipt = replace(self.receipt, backend=backend.name, version=version)
        carried = replace(self.carried, receipt=receipt, price_per_image=price, has_negative_prompt=has_negative_prompt)
        return replace(self, backend=backend, carried=carried)

    def admitted(self, candidate: ModelRequest) -> ImageRequest:
        """The request for a further model after the stages that count for each one."""
        request = candidate.request
        for stage in stages.for_next_model(self.settings):
            request = stage(request, self.by(candidate.backend).carried)
        return request

    def tell(self, receipt: Receipt) -> None:
        stages.release(self.settings, self.carried, self.backend.clock)
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
        outcome = self._handled(asked, hold=math.inf)
        assert isinstance(outcome, Finished)  # noqa: S101 -- what is held without end does not wait any more
        return outcome

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
        return self._handled(asked, hold=HOLD)

    def check(self, plugin_state: Mapping[str, JsonValue]) -> Waiting | Finished:
        """Go on with a job that any process handed in. Transient trouble keeps it waiting. Raises ImageError."""
        order = self._order()
        called = order.receipt.time
        with order.observed():
            order, turn, job = self._resumed(order, plugin_state)
        if job is None:
            return self._followed(order, turn, called)
        with order.observed():
            return self._served(order, turn, partial(turn.watch, job, hold=HOLD), called, HOLD)

    def _handled(self, asked: Asked, *, hold: float) -> Waiting | Finished:
        order = self._order()
        called = order.receipt.time
        with order.observed(handed_over=False):
            order, route, request = self._read(order, asked)
        polled = isinstance(order.backend, JobBackend) and not math.isinf(hold)
        order = replace(order, carried=replace(order.carried, polled=polled))
        with order.observed(handed_over=False):
            answer = order.before(self._in_time(request, order.backend, polled=polled))
        began = called if polled else order.backend.clock.now()
        return self._begun(order, route, answer, began=began, called=called, hold=hold)

    def _followed(self, order: _Order, turn: Turn, called: float) -> Waiting | Finished:
        """Look whether the request that makes the image for this one has ended."""
        with order.observed(handed_over=False):
            answer = stages.followed(self.settings, order.carried, order.backend.clock)
        assert turn.route  # noqa: S101 -- nobody was asked yet
        route = turn.route
        if (
            isinstance(answer, ImageRequest) and answer.images
        ):  # they are not in the state, and no further model gets them
            route = replace(route, plan=route.plan.model_copy(update={"left": ()}))
        return self._begun(order, route, answer, began=turn.began, called=called, hold=HOLD)

    def _begun(
        self,
        order: _Order,
        route: ModelRoute,
        answer: ImageRequest | ImageResult | Following,
        *,
        began: float,
        called: float,
        hold: float,
    ) -> Waiting | Finished:
        """What comes of the answer of the stages before the service."""
        with order.observed():
            if isinstance(answer, ImageResult):
                return order.finished(answer)
            if isinstance(answer, Following):
                ends = began + answer.timeout
                return order.waiting(Turn(order.backend, route, began, ends, ends), None)
            turn, request = Turn.first(route, order.backend, began, answer)
            return self._served(order, turn, partial(self._given, turn, request, hold), called, hold)

    def _served(
        self,
        order: _Order,
        turn: Turn,
        serve: Callable[[], ImageResult | Unfinished],
        called: float,
        hold: float,
    ) -> Waiting | Finished:
        """What comes of `serve`, or of the models behind it where it fails in a way that lets others answer."""
        while True:
            try:
                seen = serve()
            except ImageError as error:
                leave_room()
                turn, request = turn.next(error, called, order.admitted)
                order = order.by(turn.backend)
                serve = partial(self._given, turn, request, hold)
            else:
                return order.waiting(seen.turn, seen.job) if isinstance(seen, Unfinished) else order.finished(seen)

    def _given(self, turn: Turn, request: ImageRequest, hold: float) -> ImageResult | Unfinished:
        backend = turn.backend
        if isinstance(backend, JobBackend) and not math.isinf(hold):
            return turn.serve(request, hold=hold)
        if turn.ends - turn.began >= SYNC_LIMIT:
            backend.more_time = self._way_to_more_time(backend)
        try:
            return turn.serve(request, hold=hold)
        except TimedOutError as late:
            if not late.transient:  # a server that answers no question is not helped by more time
                late.next_step = backend.more_time or late.next_step
            raise

    def _resumed(self, order: _Order, plugin_state: Mapping[str, JsonValue]) -> tuple[_Order, Turn, Job | None]:
        state = _State.read(plugin_state)
        backend = backend_of(state.model, self.backend, self.settings) if state else self.backend
        backend.require_access()  # a field may have been emptied while the job ran
        if not isinstance(backend, JobBackend):
            raise ServerUnavailable(
                f"{backend.model.name} has no jobs to check",
                next_step="The model's settings changed while it ran; run it again",
            )
        if state is None:
            raise ServerUnavailable(
                f"The state of {backend.model.name}'s job cannot be read",
                next_step="The plugin was replaced by another version while it ran; run it again",
            )
        schema, without_images = state.carried.options.schema, Conversation("")  # the plan has the prompt
        route = ModelRoute(self.backend, self.settings, without_images, schema, state.plan) if state.plan else None
        turn = Turn(backend, route, state.carried.receipt.time, state.until, state.ends)
        return replace(order, backend=backend, carried=state.carried), turn, state.job

    def _order(self) -> _Order:
        backend = self.backend
        receipt = Receipt(time=backend.clock.now(), user=self.user, model=self.model, backend=backend.name)
        return _Order(backend, self.settings, Carried(receipt=receipt), stages.observers(self.settings))

    def _read(self, order: _Order, asked: Asked) -> tuple[_Order, ModelRoute, ImageRequest]:
        """The settled request for the first model, and the order with what is known since. Raises ImageError."""
        schema = OutputSchema.read(asked.json_schema)
        conversation = replace(asked.conversation, hosts=Limits.read(self.settings).hosts)
        route, first = ModelRoute.read(self.backend, self.settings, conversation, asked.parameters, schema)
        request = replace(first.request, user=self.user or order.receipt.id)
        carried = Carried(receipt=order.receipt.of(request), options=OutputOptions.of(request, schema))
        return replace(order, carried=carried).by(first.backend, version_of(first.backend, request)), route, request

    def _in_time(self, request: ImageRequest, backend: Backend, *, polled: bool) -> ImageRequest:
        """With a `timeout` for which the host waits; a longer one is lowered and told."""
        if polled:
            return request.lowered(POLLED_LIMIT, "Dify waits no longer")
        return request.lowered(SYNC_LIMIT, f"Dify waits no longer. {self._way_to_more_time(backend)}")

    def _way_to_more_time(self, backend: Backend) -> str:
        if isinstance(backend, JobBackend):
            return f"For jobs that take longer, set {self.settings.where('waiting')} to polling"
        return "Ask for less: fewer or smaller images"
