"""One blocking POST, followed by its task id (AUTOMATIC1111 API, section "progress, queue, interrupt")."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import gevent
from pydantic import JsonValue, ValidationError

from models.backends.automatic1111.gate import gate_of
from models.backends.automatic1111.wire import Progress, Settings, TaskProgress
from models.backends.errors import ConnectionFailed, ImageError
from models.backends.http import ONCE, Service, timed_out
from models.backends.reply import Reply
from models.clock import Deadline

FIRST_LOOK = 2.0  # seconds after sending; most images of a warm GPU are done by then
PACE = 5.0  # seconds between further looks
_ANSWER_TIME = 5.0  # seconds for the small questions
_ORPHAN_LOOKS = 180  # looks, PACE apart, at a job that was given up in the server's queue


def new_task_id() -> str:
    """A name for a job that no other client uses, in the form that the servers use themselves."""
    return f"task(dify-{uuid.uuid4().hex})"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Whether somebody stopped the job (its answer is a 200 with unfinished images), and the settings it left."""

    interrupted: bool = False
    settings: Settings | None = None


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of one account at one server. `attempt` completes the sentence "... failed"."""

    service: Service
    attempt: str
    tell: Callable[[str], None]
    """Called with the state of the job in a few words, while it is waited for."""

    @contextmanager
    def turn(self, deadline: Deadline, checkpoint: str = "") -> Iterator[None]:
        """Wait until no other image of ours is painted on this server; those of one `checkpoint` go together.

        Raises ConnectionFailed when the deadline passes first.
        """
        gate = gate_of(self.service.base_url)
        if gate.closed:
            self.tell("waiting for its turn behind other images")
        if not gate.enter(checkpoint, timeout=deadline.remaining):
            raise self._late("it was still waiting for its turn behind other images for this server")
        try:
            yield
        finally:
            gate.leave()

    def run(self, path: str, body: Mapping[str, JsonValue], deadline: Deadline) -> Reply:
        """Send `body` and wait for the images; a job past its deadline is interrupted if it is the one running.

        A job is followed by its `force_task_id`, if it has one. Raises ImageError.
        """
        task = str(body.get("force_task_id", ""))
        post = gevent.spawn(self._post, path, body, deadline)
        try:
            seen = self._follow(post, task, deadline)
            outcome: Reply | ImageError | None = post.value
        finally:
            post.kill(block=False)  # hanging up stops nothing at the server, it only frees our side
        if isinstance(outcome, Reply):
            return outcome
        if outcome is None or deadline.passed:
            raise self._give_up(task, seen)
        raise outcome

    def settings(self) -> Settings | None:
        """The settings of everybody at this moment; None where they cannot be read."""
        reply = self._ask("GET", "/sdapi/v1/options")
        try:
            return Settings.model_validate_json(reply.body) if reply else None
        except ValidationError:
            return None

    def aftermath(self, job_timestamp: str | None, *, settings: bool) -> Aftermath:
        """What the server shows right after the job of that time, and before the next one begins.

        Nothing is known where the next one has begun, or where the server does not tell. `settings` asks for them too.
        """
        kept = self.settings() if settings else None
        reply = self._ask("GET", "/sdapi/v1/progress", params={"skip_current_image": "true"})
        try:
            state = Progress.model_validate_json(reply.body).state if reply else None
        except ValidationError:
            return Aftermath()
        if state is None or job_timestamp is None or state.job_timestamp != job_timestamp:
            return Aftermath()
        return Aftermath(state.interrupted or state.skipped, kept)

    def _post(self, path: str, body: Mapping[str, JsonValue], deadline: Deadline) -> Reply | ImageError:
        # An error is a value here: gevent prints what a greenlet raises.
        try:
            return self.service.request(
                "POST", path, attempt=self.attempt, deadline=deadline, json=body, read_timeout=deadline.remaining
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
                self.tell(seen.words)

    def _give_up(self, task: str, seen: TaskProgress | None) -> ConnectionFailed:
        now = self._look(task)
        if now is None:
            return self._late(
                "this server does not tell whose job it runs, so it was left alone and may still be painted"
            )
        if now.active:
            self._ask("POST", "/sdapi/v1/interrupt", json={})
            return self._late(f"the job was interrupted at {(seen or now).words or now.words}")
        if now.queued:
            gevent.spawn(self._interrupt_later, task)
            return self._late(
                f"the job was still waiting in the server ({now.words}); it is interrupted when it starts"
            )
        return self._late("the job is no longer on the server")

    def _late(self, said: str) -> ConnectionFailed:
        error = timed_out(self.attempt)
        error.said = f"{error.said}; {said}"
        return error

    def _interrupt_later(self, task: str) -> None:
        """Nothing takes a job out of the server's queue, so it is stopped in its first steps."""
        for _ in range(_ORPHAN_LOOKS):
            self.service.clock.sleep(PACE)
            state = self._look(task)
            if state is not None and state.active:
                self._ask("POST", "/sdapi/v1/interrupt", json={})
            if state is not None and not state.queued:
                return

    def _look(self, task: str) -> TaskProgress | None:
        """The state of one task; None where the server does not tell (`--nowebui`, SD.Next) or does not answer."""
        if not task:
            return None
        reply = self._ask(
            "POST", "/internal/progress", json={"id_task": task, "id_live_preview": -1, "live_preview": False}
        )
        try:
            return TaskProgress.model_validate_json(reply.body) if reply else None
        except ValidationError:
            return None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, JsonValue] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Reply | None:
        """A small question beside the job, whose failure changes nothing for the job."""
        deadline = Deadline.after(self.service.clock, _ANSWER_TIME)
        try:
            return self.service.request(
                method,
                path,
                attempt="Asking the WebUI about its job",
                deadline=deadline,
                json=json,
                params=params,
                read_timeout=_ANSWER_TIME,
                retries=ONCE,
            )
        except ImageError:
            return None
