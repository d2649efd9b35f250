"""One blocking POST whose progress is polled by task id (AUTOMATIC1111 API, section "progress, queue, interrupt").

Requests queue here, one at a time: waiting ones would block the server's pool of 40 threads, and only until the next
job starts does the server report whether the last one was interrupted and which settings it changed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import gevent
from gevent.event import Event
from pydantic import BaseModel, JsonValue, ValidationError

from models.backends.base import RESERVE, Running
from models.backends.errors import ConnectionFailed, ImageError
from models.backends.http import NOT_THERE, ONCE, Service, timed_out
from models.backends.outage import Outage
from models.backends.reply import Reply, parse
from models.backends.trail import note_queued
from models.clock import Deadline

FIRST_POLL = 2.0  # seconds after sending; most images of a warm GPU are done by then
POLL_INTERVAL = 5.0  # seconds between further polls
MAX_STREAK = 8  # jobs of one checkpoint in a row while requests for another one wait
_REPLY_SECONDS = 5.0  # seconds for a status request, and for an interrupted job to return its images
_ABANDONED_POLLS = 180  # polls of an abandoned job in the server's queue


class TaskProgress(BaseModel):
    """Reply of `/internal/progress`: the state of one task; all false for an unknown id."""

    active: bool = False
    queued: bool = False
    completed: bool = False
    progress: float | None = None
    eta: float | None = None
    textinfo: str | None = None

    @property
    def known(self) -> bool:
        """Whether the server has the job, or had it a moment ago."""
        return self.active or self.queued or self.completed

    @property
    def words(self) -> str:
        """For the user: "In queue: 2/3", "40 %, about 12 s left"."""
        if self.queued:
            return self.textinfo or "in the server's queue"
        if not self.active:
            return ""
        done = f"{100 * (self.progress or 0):.0f} %"
        return f"{done}, about {self.eta:.0f} s left" if self.eta else done


class ServerState(BaseModel):
    """`job_count` is 0 while nothing runs, -1 before the first step of a job."""

    interrupted: bool = False
    skipped: bool = False
    job_timestamp: str | None = None
    job_count: int = 0


class ServerProgress(BaseModel):
    """Reply of `/sdapi/v1/progress`: the current or last job, of any user."""

    state: ServerState = ServerState()


class ServerSettings(BaseModel):
    sd_model_checkpoint: JsonValue = None
    sd_vae: JsonValue = None
    CLIP_stop_at_last_layers: JsonValue = None

    @property
    def checkpoint(self) -> str:
        return str(self.sd_model_checkpoint or "")


class PendingTasks(BaseModel):
    """Reply of `/internal/pending-tasks`: the waiting requests; one that failed before it began stays among them."""

    size: int = 0


class EmptyReply(BaseModel):
    pass


class TurnQueue:
    """Admits one request at a time in order of arrival, but up to MAX_STREAK requests for the last checkpoint first,
    because loading a model takes longer than generating an image."""

    def __init__(self) -> None:
        self.busy = False
        self._waiting: dict[Event, str] = {}  # the checkpoint of each, in the order in which they came
        self._checkpoint = ""
        self._streak = 0

    def enter(self, checkpoint: str, *, timeout: float) -> bool:
        """Wait for a turn; False after `timeout` seconds without one. Every turn ends with `leave`."""
        admitted, entered = Event(), False
        self._waiting[admitted] = checkpoint
        self._admit()
        try:
            entered = admitted.wait(timeout)
        finally:
            # Timed out or killed, possibly just when it was admitted.
            if not entered and self._waiting.pop(admitted, None) is None:
                self.leave()
        return entered

    def leave(self) -> None:
        self.busy = False
        self._admit()

    def _admit(self) -> None:
        if self.busy or not self._waiting:
            return
        admitted = self._next()
        checkpoint = self._waiting.pop(admitted)
        self.busy = True
        self._streak = self._streak + 1 if checkpoint == self._checkpoint else 1
        self._checkpoint = checkpoint
        admitted.set()

    def _next(self) -> Event:
        same = self._streak < MAX_STREAK
        fitting = (event for event, checkpoint in self._waiting.items() if (checkpoint == self._checkpoint) is same)
        return next(fitting, next(iter(self._waiting)))


_queues: WeakValueDictionary[str, TurnQueue] = WeakValueDictionary()


def queue_of(base_url: str) -> TurnQueue:
    """The queue of one server, kept while it is used."""
    return _queues.setdefault(base_url.rstrip("/"), TurnQueue())


@dataclass(frozen=True, slots=True)
class WebUIJobs:
    """The jobs of one account at one server. `attempt` completes "... failed"; `on_progress` gets the state of a
    job; `within` gives the deadline of a request, which ends with the call."""

    service: Service
    attempt: str
    on_progress: Callable[[Running], None]
    within: Callable[[float], Deadline]

    @contextmanager
    def turn(self, deadline: Deadline, checkpoint: str = "") -> Iterator[None]:
        """Wait until no other job of ours runs on this server; those of one `checkpoint` go together.

        Raises ConnectionFailed when the deadline passes first.
        """
        queue = queue_of(self.service.base_url)
        if busy := queue.busy:
            self.on_progress(Running("queued behind other images"))
        if not queue.enter(checkpoint, timeout=deadline.remaining):
            raise self._late("it was still queued behind other images for this server")
        if busy:
            note_queued(deadline.clock)
        try:
            yield
        finally:
            queue.leave()

    def run(self, path: str, body: Mapping[str, JsonValue], deadline: Deadline) -> tuple[Reply, ImageError | None]:
        """Send `body` and wait for the images; a job past its deadline is interrupted if it is running.

        Returns the reply, and an error if its last batch is unfinished. The job is polled by the body's
        `force_task_id`, if it has one. Raises ImageError, also for a server that answers no poll for a minute: the
        long request beside it cannot tell a dead server from a busy one.
        """
        task, outage = str(body.get("force_task_id", "")), Outage(self.service.clock)
        post = gevent.spawn(self._post, path, body, deadline)
        try:
            seen = self._follow(post, task, deadline, outage)
            late = None if post.ready() else self._reason(outage) if outage.lasting else self._give_up(task, seen, post)
            outcome: Reply | ImageError | None = post.value
        finally:
            post.kill(block=False)  # closing the connection does not stop the job on the server
        if isinstance(outcome, Reply):
            return outcome, late
        raise late or outcome or timed_out(self.attempt)

    def reachable_settings(self, deadline: Deadline) -> ServerSettings:
        """The settings of a server that is up. Raises ImageError."""
        reply = self.service.request(
            "GET", "/sdapi/v1/options", attempt=self.attempt, deadline=deadline, retries=ONCE, accept=NOT_THERE
        )
        return parse(reply, ServerSettings, attempt=self.attempt) if reply.ok else ServerSettings()

    def settings(self) -> ServerSettings | None:
        return self._ask("GET", "/sdapi/v1/options", ServerSettings, self.within(_REPLY_SECONDS))

    def waiting(self) -> int:
        """The jobs of others at the server, running or waiting, as far as it reports them."""
        progress = self._ask(
            "GET", "/sdapi/v1/progress?skip_current_image=true", ServerProgress, self.within(_REPLY_SECONDS)
        )
        if progress is None or not progress.state.job_count:
            return 0  # what is listed as waiting on an idle server failed before it began
        pending = self._ask("GET", "/internal/pending-tasks", PendingTasks, self.within(_REPLY_SECONDS))
        return (pending.size if pending else 0) + 1 - queue_of(self.service.base_url).busy

    def was_interrupted(self, job_timestamp: str | None) -> bool | None:
        """Whether the job of that time was stopped: its reply is a 200 with unfinished images.

        To be called right after the job; None if the next one has started or the server does not report it.
        """
        path = "/sdapi/v1/progress?skip_current_image=true"
        progress = self._ask("GET", path, ServerProgress, self.within(_REPLY_SECONDS))
        if progress is None or job_timestamp is None or progress.state.job_timestamp != job_timestamp:
            return None
        return progress.state.interrupted or progress.state.skipped

    def _post(self, path: str, body: Mapping[str, JsonValue], deadline: Deadline) -> Reply | ImageError:
        # An error is a value here: gevent prints what a greenlet raises.
        patient = Deadline(deadline.clock, deadline.at + RESERVE)
        try:
            return self.service.request(
                "POST", path, attempt=self.attempt, deadline=patient, json=body, read_timeout=patient.remaining
            )
        except ImageError as error:
            return error

    def _follow[**P, R](
        self, post: "gevent.Greenlet[P, R]", task: str, deadline: Deadline, outage: Outage
    ) -> TaskProgress | None:
        """Poll the job until it has ended, its deadline has passed, or an outage lasts; returns its last known state."""
        seen, pause = None, FIRST_POLL
        while True:
            gevent.with_timeout(min(pause, deadline.remaining), post.join, timeout_value=None)
            if post.ready() or deadline.passed or outage.lasting:
                return seen
            began, pause = self.service.clock.now(), POLL_INTERVAL
            try:
                state = self._looked(task, self.within(_REPLY_SECONDS))
                if seen and seen.known and state and not state.known:
                    raise self._lost(f"the job is no longer on the server at {self.service.base_url}")
                outage.end()
                seen = state or seen
            except ConnectionFailed as trouble:
                outage.met(trouble, began)
            if seen and seen.queued:
                note_queued(self.service.clock)
            if seen and seen.words:
                self.on_progress(Running(seen.words))

    def _reason(self, outage: Outage) -> ImageError:
        return outage.reason(self.attempt, self.service.name, self.service.settings)

    def _give_up[**P, R](self, task: str, seen: TaskProgress | None, post: "gevent.Greenlet[P, R]") -> ConnectionFailed:
        """Stop the job if it is running, and wait briefly for `post` to return the finished images."""
        now = self._poll(task, self.within(_REPLY_SECONDS))
        if now is None and seen is not None:
            return self._lost(f"{self.service.base_url} no longer replies and may still run it")
        if now is None:
            return self._late(
                "this server does not report whose job it runs, so it was not cancelled and may still run"
            )
        if now.active:
            self._interrupt(self.within(_REPLY_SECONDS))
            gevent.with_timeout(self.within(_REPLY_SECONDS).remaining, post.join, timeout_value=None)
            return self._late(f"the job was interrupted at {(seen or now).words or now.words}")
        if now.queued:
            gevent.spawn(self._interrupt_later, task)
            return self._late(
                f"the job was still in the server's queue ({now.words}); it will be interrupted when it starts"
            )
        return self._lost(f"the job is no longer on the server at {self.service.base_url}")

    def _late(self, said: str) -> ConnectionFailed:
        error = timed_out(self.attempt)
        error.said = f"{error.said}; {said}"
        return error

    def _lost(self, said: str) -> ConnectionFailed:
        """The error for a job that more time would not have helped."""
        step = "Look at the WebUI's console before trying again"
        return ConnectionFailed(f"{self.attempt} failed", said, step, transient=True)

    def _interrupt_later(self, task: str) -> None:
        """A job cannot be removed from the server's queue, so it is stopped once it starts."""
        clock = self.service.clock
        for _ in range(_ABANDONED_POLLS):
            clock.sleep(POLL_INTERVAL)
            state = self._poll(task, Deadline.after(clock, _REPLY_SECONDS))
            if state is not None and state.active:
                self._interrupt(Deadline.after(clock, _REPLY_SECONDS))
            if state is not None and not state.queued:
                return

    def _interrupt(self, deadline: Deadline) -> None:
        self._ask("POST", "/sdapi/v1/interrupt", EmptyReply, deadline, {})

    def _poll(self, task: str, deadline: Deadline) -> TaskProgress | None:
        """The state of one task; None if the server does not report it or does not reply."""
        try:
            return self._looked(task, deadline)
        except ConnectionFailed:
            return None

    def _looked(self, task: str, deadline: Deadline) -> TaskProgress | None:
        """The state of one task; None if the server does not report it (`--nowebui`, SD.Next, a job without an id).

        Raises ConnectionFailed when it does not reply.
        """
        body: dict[str, JsonValue] = {"id_task": task, "id_live_preview": -1, "live_preview": False}
        try:
            reply = self._sent("POST", "/internal/progress", deadline, body, question=True)
            return TaskProgress.model_validate_json(reply.body) if task and reply.ok else None
        except ConnectionFailed:
            raise
        except (ImageError, ValidationError):
            return None

    def _ask[M: BaseModel](
        self, method: str, path: str, model: type[M], deadline: Deadline, json: Mapping[str, JsonValue] | None = None
    ) -> M | None:
        """A status request; its failure does not affect the job."""
        try:
            return model.model_validate_json(self._sent(method, path, deadline, json).body)
        except (ImageError, ValidationError):
            return None

    def _sent(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        json: Mapping[str, JsonValue] | None,
        *,
        question: bool = False,
    ) -> Reply:
        attempt = "Asking the WebUI about its job"
        return self.service.request(
            method, path, attempt=attempt, deadline=deadline, json=json, retries=ONCE, question=question
        )
