"""One blocking POST, followed by its task id (AUTOMATIC1111 API, section "progress, queue, interrupt").

The server generates one image at a time and holds every waiting request open in a pool of 40 threads, in which its
other answers wait too: so requests queue here. Only until the next job begins does the server show whether the last one
was interrupted and what it left in the settings: so one at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import gevent
from gevent.event import Event
from pydantic import BaseModel, JsonValue, ValidationError

from models.backends.base import Running
from models.backends.errors import ConnectionFailed, ImageError
from models.backends.http import ONCE, Service, timed_out
from models.backends.reply import Reply
from models.clock import Deadline

FIRST_LOOK = 2.0  # seconds after sending; most images of a warm GPU are done by then
PACE = 5.0  # seconds between further looks
STREAK = 8
"""Jobs of one checkpoint in a row while requests for another one wait."""
_ANSWER_TIME = 5.0  # seconds for the small questions, and for an interrupted job to hand out what it has
_ORPHAN_LOOKS = 180  # looks, PACE apart, at a job that was given up in the server's queue


# --- answers ----------------------------------------------------------------------------------------------------------


class TaskProgress(BaseModel):
    """`/internal/progress`: one request followed by its task id; all false for an id that the server does not know."""

    active: bool = False
    queued: bool = False
    completed: bool = False
    progress: float | None = None
    eta: float | None = None
    textinfo: str | None = None

    @property
    def words(self) -> str:
        """For a reader: "In queue: 2/3", "40 %, about 12 s left"."""
        if self.queued:
            return self.textinfo or "in the server's queue"
        if not self.active:
            return ""
        left = f", about {self.eta:.0f} s left" if self.eta else ""
        return f"{100 * (self.progress or 0):.0f} %{left}"


class ServerState(BaseModel):
    interrupted: bool = False
    skipped: bool = False
    job_timestamp: str | None = None


class ServerProgress(BaseModel):
    """`/sdapi/v1/progress`: whatever runs or ran last, whoever asked for it."""

    state: ServerState = ServerState()


class ServerSettings(BaseModel):
    """The settings of everybody, as far as one request may override them."""

    sd_model_checkpoint: JsonValue = None
    sd_vae: JsonValue = None
    CLIP_stop_at_last_layers: JsonValue = None


class EmptyReply(BaseModel):
    """An answer that says nothing but that it came."""


# --- the queue of one server ------------------------------------------------------------------------------------------


class TurnQueue:
    """Lets one request through at a time: first come, first served, but requests for the checkpoint of the last one go
    first, up to STREAK of them, because loading a model takes longer than generating an image."""

    def __init__(self) -> None:
        self.busy = False
        self._waiting: list[_Waiter] = []
        self._checkpoint = ""
        self._streak = 0

    def enter(self, checkpoint: str, *, timeout: float) -> bool:
        """Wait for a turn; False after `timeout` seconds without one. Every turn ends with `leave`."""
        waiter, entered = _Waiter(checkpoint), False
        self._waiting.append(waiter)
        self._admit()
        try:
            entered = waiter.admitted.wait(timeout)
        finally:
            if not entered:  # perhaps killed, and in the moment in which it was let in
                self._withdraw(waiter)
        return entered

    def leave(self) -> None:
        self.busy = False
        self._admit()

    def _withdraw(self, waiter: "_Waiter") -> None:
        if waiter.admitted.is_set():
            self.leave()
        else:
            self._waiting.remove(waiter)

    def _admit(self) -> None:
        if self.busy or not self._waiting:
            return
        waiter = self._next()
        self._waiting.remove(waiter)
        self.busy = True
        self._streak = self._streak + 1 if waiter.checkpoint == self._checkpoint else 1
        self._checkpoint = waiter.checkpoint
        waiter.admitted.set()

    def _next(self) -> "_Waiter":
        same = self._streak < STREAK
        fitting = (waiter for waiter in self._waiting if (waiter.checkpoint == self._checkpoint) is same)
        return next(fitting, self._waiting[0])


class _Waiter:
    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.admitted = Event()


_queues: WeakValueDictionary[str, TurnQueue] = WeakValueDictionary()


def queue_of(base_url: str) -> TurnQueue:
    """The queue of one server, kept as long as somebody uses it."""
    return _queues.setdefault(base_url.rstrip("/"), TurnQueue())


# --- jobs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebUIJobs:
    """The jobs of one account at one server. `attempt` completes the sentence "... failed"."""

    service: Service
    attempt: str
    tell: Callable[[Running], None]
    """Called with the state of the job while it is waited for."""

    @contextmanager
    def turn(self, deadline: Deadline, checkpoint: str = "") -> Iterator[None]:
        """Wait until no other job of ours runs on this server; those of one `checkpoint` go together.

        Raises ConnectionFailed when the deadline passes first.
        """
        queue = queue_of(self.service.base_url)
        if queue.busy:
            self.tell(Running("waiting for its turn behind other images"))
        if not queue.enter(checkpoint, timeout=deadline.remaining):
            raise self._late("it was still waiting for its turn behind other images for this server")
        try:
            yield
        finally:
            queue.leave()

    def run(
        self, path: str, body: Mapping[str, JsonValue], deadline: Deadline
    ) -> tuple[Reply, ConnectionFailed | None]:
        """Send `body` and wait for the images; a job past its deadline is interrupted if it is the one running.

        With the answer comes the reason why its last batch is unfinished, if it is. A job is followed by its
        `force_task_id`, if it has one. Raises ImageError.
        """
        task = str(body.get("force_task_id", ""))
        post = gevent.spawn(self._post, path, body, deadline)
        try:
            seen = self._follow(post, task, deadline)
            late = None if post.ready() else self._give_up(task, seen, post)
            outcome: Reply | ImageError | None = post.value
        finally:
            post.kill(block=False)  # hanging up stops nothing at the server, it only frees our side
        if isinstance(outcome, Reply):
            return outcome, late
        raise late or outcome or timed_out(self.attempt)

    def settings(self) -> ServerSettings | None:
        """The settings of everybody at this moment; None where they cannot be read."""
        return self._ask("GET", "/sdapi/v1/options", ServerSettings)

    def was_interrupted(self, job_timestamp: str | None) -> bool | None:
        """Whether somebody stopped the job of that time: its answer is a 200 with unfinished images.

        Ask right after it; None where the next one has begun, or where the server does not tell.
        """
        progress = self._ask("GET", "/sdapi/v1/progress?skip_current_image=true", ServerProgress)
        if progress is None or job_timestamp is None or progress.state.job_timestamp != job_timestamp:
            return None
        return progress.state.interrupted or progress.state.skipped

    def _post(self, path: str, body: Mapping[str, JsonValue], deadline: Deadline) -> Reply | ImageError:
        # An error is a value here: gevent prints what a greenlet raises.
        patient = Deadline(deadline.clock, deadline.at + _ANSWER_TIME)
        try:
            return self.service.request(
                "POST", path, attempt=self.attempt, deadline=patient, json=body, read_timeout=patient.remaining
            )
        except ImageError as error:
            return error

    def _follow[**P, R](self, post: "gevent.Greenlet[P, R]", task: str, deadline: Deadline) -> TaskProgress | None:
        """Wait for the answer with a look at the task now and then; the last state seen is returned."""
        seen, pause = None, FIRST_LOOK
        while True:
            post.join(timeout=min(pause, deadline.remaining))
            if post.ready() or deadline.passed:
                return seen
            seen, pause = self._look(task) or seen, PACE
            if seen is not None and seen.words:
                self.tell(Running(seen.words))

    def _give_up[**P, R](self, task: str, seen: TaskProgress | None, post: "gevent.Greenlet[P, R]") -> ConnectionFailed:
        """Stop the job if it is the one running, and give `post` the time to bring what is finished."""
        now = self._look(task)
        if now is None and seen is not None:
            return self._lost(f"{self.service.base_url} no longer answers and may still run it")
        if now is None:
            return self._late("this server does not tell whose job it runs, so it was left alone and may still run")
        if now.active:
            self._interrupt()
            post.join(timeout=_ANSWER_TIME)
            return self._late(f"the job was interrupted at {(seen or now).words or now.words}")
        if now.queued:
            gevent.spawn(self._interrupt_later, task)
            return self._late(
                f"the job was still waiting in the server ({now.words}); it is interrupted when it starts"
            )
        return self._lost(f"the job is no longer on the server at {self.service.base_url}")

    def _late(self, said: str) -> ConnectionFailed:
        error = timed_out(self.attempt)
        error.said = f"{error.said}; {said}"
        return error

    def _lost(self, said: str) -> ConnectionFailed:
        """The error for a job that more time would not have helped."""
        return ConnectionFailed(f"{self.attempt} failed", said, "Look at the WebUI's console before trying again")

    def _interrupt_later(self, task: str) -> None:
        """Nothing takes a job out of the server's queue, so it is stopped in its first steps."""
        for _ in range(_ORPHAN_LOOKS):
            self.service.clock.sleep(PACE)
            state = self._look(task)
            if state is not None and state.active:
                self._interrupt()
            if state is not None and not state.queued:
                return

    def _interrupt(self) -> None:
        self._ask("POST", "/sdapi/v1/interrupt", EmptyReply, {})

    def _look(self, task: str) -> TaskProgress | None:
        """The state of one task; None where the server does not tell (`--nowebui`, SD.Next) or does not answer."""
        question: dict[str, JsonValue] = {"id_task": task, "id_live_preview": -1, "live_preview": False}
        return self._ask("POST", "/internal/progress", TaskProgress, question) if task else None

    def _ask[M: BaseModel](
        self, method: str, path: str, model: type[M], json: Mapping[str, JsonValue] | None = None
    ) -> M | None:
        """A small question beside the job, whose failure changes nothing for the job."""
        try:
            reply = self.service.request(
                method,
                path,
                attempt="Asking the WebUI about its job",
                deadline=Deadline.after(self.service.clock, _ANSWER_TIME),
                json=json,
                read_timeout=_ANSWER_TIME,
                retries=ONCE,
            )
            return model.model_validate_json(reply.body)
        except (ImageError, ValidationError):
            return None
