"""Gateways that answer with a task in place of images: the task is followed until its images are there.

There is no standard: a task is told by its id or its state, its address by the answer, else by `tasks/<id>` below the
API's path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from models.backends.errors import BadRequest, ConnectionFailed, ImageError
from models.backends.http import Service
from models.backends.images import at_origin, parsed, resolved
from models.backends.openai_images.wire import Address
from models.backends.reply import Reply
from models.clock import Deadline

POLL_SECONDS = 3.0
_DEPTH = 4
_IDS = ("task_id", "taskId", "job_id", "jobId")
_ADDRESSES = ("status_url", "poll_url", "polling_url", "query_url", "task_url", "get")
_STATES = ("status", "task_status", "state", "taskStatus")
_PENDING = frozenset(
    {"submitted", "queued", "queueing", "pending", "processing", "in_progress", "in_queue", "running", "created"}
    | {"starting", "started", "waiting", "accepted", "not_start", "not_started", "generating", "init", "initializing"}
)
_DONE = frozenset({"completed", "complete", "succeeded", "succeed", "success", "done", "finished"})
_FAILED = frozenset({"failed", "failure", "fail", "error", "cancelled", "canceled", "expired", "rejected", "aborted"})
_ENDED = _DONE | _FAILED


@dataclass(frozen=True, slots=True)
class GatewayTask:
    """A task as an answer names it; `address` is empty where the answer names none."""

    id: str
    address: str = ""


def task_in(body: object) -> GatewayTask | None:
    """The task that an answer without images speaks of."""
    entries = list(_objects(body))
    named = _first(entries, _IDS)
    pending = [entry for entry in entries if _state_of(entry) in _PENDING]
    found = named or _first(pending, ("id", "request_id"))
    if not found:
        return None
    return GatewayTask(found, _first(entries, _ADDRESSES))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFollower:
    """Asks a service for its task until it ends."""

    service: Service
    address: Address
    attempt: str
    deadline: Deadline

    def finished(self, task: GatewayTask) -> Reply:
        """The answer of a task that has ended. Raises BadRequest for a task that cannot be asked for,
        ConnectionFailed for one that outlives the deadline, else as the service refuses."""
        service, path = self._place_of(task)
        state = ""
        while not self.deadline.passed:
            reply = self._asked(service, path, task)
            state = state_in(reply.json())
            if state in _ENDED or (state not in _PENDING and self._speaks(reply, task)):
                return reply
            self.service.clock.sleep(min(POLL_SECONDS, self.deadline.remaining))
        raise self._outlived(task, state)

    def _place_of(self, task: GatewayTask) -> tuple[Service, str]:
        """The service and path to ask. The login goes to the service's own origin and nowhere else."""
        if not task.address:
            return self.service, self.address.path(f"tasks/{quote(task.id, safe='')}")
        url = resolved(self.service.base_url, task.address)
        if urlsplit(url).netloc != urlsplit(self.service.base_url).netloc:
            raise self._not_followed(task, f"it names an address at another host, {urlsplit(url).netloc}")
        return at_origin(self.service, url)

    def _asked(self, service: Service, path: str, task: GatewayTask) -> Reply:
        not_there = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            reply = service.request(
                "GET",
                path,
                attempt=f"{self.attempt}: asking for the task {task.id}",
                deadline=self.deadline,
                params=self.address.query if not task.address else None,
                accept=not_there,
            )
        except ImageError as error:
            raise self._with_id(error, task) from None
        if reply.status in not_there:
            raise self._not_followed(task, f"nothing answers at /{path.lstrip('/')}")
        return reply

    def _speaks(self, reply: Reply, task: GatewayTask) -> bool:
        """Whether an answer without a known state holds an image or an error: others mean that the task runs."""
        body = reply.json()
        try:
            return bool(parsed(reply, self.attempt).images) or (isinstance(body, Mapping) and bool(body.get("error")))
        except ImageError as error:
            raise self._with_id(error, task) from None

    def _with_id(self, error: ImageError, task: GatewayTask) -> ImageError:
        error.next_step = f"{_SENT}: look for the task {task.id} at the service before sending it again"
        return error

    def _not_followed(self, task: GatewayTask, why: str) -> BadRequest:
        return BadRequest(
            f"{self.attempt} failed",
            f"the gateway works by jobs: it answered with the task {task.id}, and {why}",
            f"{_SENT}: look for the task there, and choose a model or an address of the gateway that answers at once",
        )

    def _outlived(self, task: GatewayTask, state: str) -> ConnectionFailed:
        seen = f", last seen: {state}" if state else ""
        return ConnectionFailed(
            f"{self.attempt} failed",
            f"the task {task.id} of the gateway did not end in time{seen}",
            f"{_SENT}: look for the task there before sending it again, or raise `timeout`",
        )


_SENT = "The request was accepted and may be billed"


def state_in(body: object) -> str:
    """The state of a task: pending if any part of the answer is, else failed if any is, else the first that is named."""
    states = [state for entry in _objects(body) if (state := _state_of(entry))]
    for group in (_PENDING, _FAILED):
        for state in states:
            if state in group:
                return state
    return states[0] if states else ""


def has_failed(body: object) -> bool:
    return state_in(body) in _FAILED


def _objects(value: object, depth: int = _DEPTH) -> Iterator[Mapping[str, object]]:
    """Every object of an answer, outer ones first, down to a few levels."""
    if not depth:
        return
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner, depth - 1)


def _first(entries: list[Mapping[str, object]], names: tuple[str, ...]) -> str:
    values = (entry.get(name) for entry in entries for name in names)
    return next((str(value) for value in values if isinstance(value, (str, int)) and value), "")


def _state_of(entry: Mapping[str, object]) -> str:
    words = (entry.get(name) for name in _STATES)
    word = next((word for word in words if isinstance(word, str)), "")
    return re.sub(r"[\s-]+", "_", word.strip().lower())
