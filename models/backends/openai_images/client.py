"""One call of the images API: repeated without keys that the server refuses, and polled if a gateway returns a task.

Tasks have no standard: one is recognised by its id or state, and polled at the URL in the reply, else at `tasks/<id>`
below the API's path.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from models.backends.cache import ServerCache
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, ServerUnavailable
from models.backends.http import NOT_THERE, Service
from models.backends.images import ParsedReply, at_origin, parsed, resolved
from models.backends.openai_images.build import Wire
from models.backends.openai_images.detect import Address
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, said_by, spelled
from models.clock import Deadline
from models.settings import Access

POLL_SECONDS = 3.0
_REFUSALS = (400, 422)  # statuses of a server that does not know a parameter
_ACCEPTED = "It may have been billed: check the service's log or usage page before sending it again"
_SENT = "The request was accepted and may be billed"

TABLE = RefusalTable.beside(__file__)
REFUSED_KEYS: ServerCache[tuple[str, ...]] = ServerCache(seconds=3600)
"""Keys that a model's server refused by name: they are not sent again for a while."""


@dataclass(frozen=True, slots=True)
class GatewayTask:
    id: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesClient:
    service: Service
    address: Address
    remote: str
    attempt: str
    deadline: Deadline

    def answer(self, wire: Wire) -> tuple[Wire, Reply, ParsedReply]:
        """The call as the server took it, and its reply or that of its task, raw and parsed; it may hold errors.

        Raises BadRequest for a task that cannot be polled, ConnectionFailed for one that outlives the deadline, else
        the error of a refusal.
        """
        wire, reply = self._sent(wire)
        answer = parsed(reply, self.attempt)
        if answer.images or not (task := task_in(reply.json())):
            return wire, reply, answer
        reply = self._finished(task)
        return wire, reply, parsed(reply, self.attempt)

    def _sent(self, wire: Wire) -> tuple[Wire, Reply]:
        """Keys that the plugin adds by itself are left out for a server that refuses them by name, which is free, and so
        is a quality that it refuses."""
        place = (self.address.api, self.remote)
        known = REFUSED_KEYS.get(self.service, place) or ()
        wire = wire.without(*known)
        reply = self._post(wire)
        refused = refused_keys(reply, wire.optional & wire.fields.keys()) if reply.status in _REFUSALS else ()
        if refused:
            REFUSED_KEYS.put(self.service, (*known, *refused), place)
            wire = wire.without(*refused)
            reply = self._post(wire)
        while reply.status in _REFUSALS and refused_keys(reply, ("quality",)) and (lower := wire.in_lower_quality()):
            wire, reply = lower, self._post(lower)
        if reply.status in _REFUSALS:
            raise self.service.failure(self.attempt, self.service.explain(reply))
        return wire, reply

    def _post(self, wire: Wire) -> Reply:
        form = wire.route.body == "form"
        return self.service.request(
            "POST",
            self.address.path(wire.route.path),
            attempt=self.attempt,
            deadline=self.deadline,
            params=self.address.query,
            json=None if form else wire.json_body,
            form=wire.form if form else None,
            read_timeout=self.deadline.remaining,  # most servers send nothing until they are done, which takes minutes
            accept=_REFUSALS,
        )

    def _finished(self, task: GatewayTask) -> Reply:
        service, path = self._poll_target(task)
        state = ""
        while not self.deadline.passed:
            reply = self._polled(service, path, task)
            state = state_in(reply.json())
            if state in _ENDED or (state not in _PENDING and self._has_outcome(reply, task)):
                return reply
            self.service.clock.sleep(min(POLL_SECONDS, self.deadline.remaining))
        seen = f", last known state: {state}" if state else ""
        raise ConnectionFailed(
            f"{self.attempt} failed",
            f"the task {task.id} of the gateway did not end in time{seen}",
            f"{_SENT}: look for the task there before sending it again, or raise `timeout`",
        )

    def _poll_target(self, task: GatewayTask) -> tuple[Service, str]:
        """The service and path to poll. The login is sent to the service's own origin and nowhere else."""
        if not task.address:
            return self.service, self.address.path(f"tasks/{quote(task.id, safe='')}")
        url = resolved(self.service.base_url, task.address)
        if urlsplit(url).netloc != urlsplit(self.service.base_url).netloc:
            raise self._not_followed(task, f"it names an address at another host, {urlsplit(url).netloc}")
        return at_origin(self.service, url)

    def _polled(self, service: Service, path: str, task: GatewayTask) -> Reply:
        try:
            reply = service.request(
                "GET",
                path,
                attempt=f"{self.attempt}: asking for the task {task.id}",
                deadline=self.deadline,
                params=self.address.query if not task.address else None,
                accept=NOT_THERE,
                brings_result=True,
            )
        except ImageError as error:
            raise _with_id(error, task) from None
        if reply.status in NOT_THERE:
            raise self._not_followed(task, f"nothing answers at /{path.lstrip('/')}")
        return reply

    def _has_outcome(self, reply: Reply, task: GatewayTask) -> bool:
        """Whether a reply without a known state holds an image or an error; any other means that the task is
        running."""
        body = reply.json()
        try:
            return bool(parsed(reply, self.attempt).images) or (isinstance(body, Mapping) and bool(body.get("error")))
        except ImageError as error:
            raise _with_id(error, task) from None

    def _not_followed(self, task: GatewayTask, why: str) -> BadRequest:
        return BadRequest(
            f"{self.attempt} failed",
            f"the gateway replied with the task {task.id}, and {why}",
            f"{_SENT}: look for the task there, and choose a model or an address of the gateway that replies with the image",
        )


def _with_id(error: ImageError, task: GatewayTask) -> ImageError:
    error.undone = False
    error.next_step = f"{_SENT}: look for the task {task.id} at the service before sending it again"
    return error


def refused_keys(reply: Reply, sent: Iterable[str]) -> tuple[str, ...]:
    said, named = said_by(reply), Fault.read(reply).param
    quoted = set(re.findall(r"['\"`‘“]([\w.]+)['\"`’”]", said))
    words = {word for word in re.findall(r"\w+", said) if "_" in word}
    return tuple(key for key in sent if key == named or key in quoted | words)


# Tasks in replies.

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


def task_in(body: object) -> GatewayTask | None:
    entries = list(_objects(body))
    pending = [entry for entry in entries if _state_of(entry) in _PENDING]
    found = _first(entries, _IDS) or _first(pending, ("id", "request_id"))
    return GatewayTask(found, _first(entries, _ADDRESSES)) if found else None


def state_in(body: object) -> str:
    """The state of a task: pending if any part of the reply is, else failed if any is, else the first that is named."""
    states = [state for entry in _objects(body) if (state := _state_of(entry))]
    return min(states, key=lambda state: (state not in _PENDING, state not in _FAILED), default="")


def _objects(value: object, depth: int = 4) -> Iterator[Mapping[str, object]]:
    if not depth:
        return
    if isinstance(value, Mapping):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for entry in inner:
        yield from _objects(entry, depth - 1)


def _first(entries: list[Mapping[str, object]], names: tuple[str, ...]) -> str:
    values = (entry.get(name) for entry in entries for name in names)
    return next((str(value) for value in values if isinstance(value, (str, int)) and value), "")


def _state_of(entry: Mapping[str, object]) -> str:
    words = (entry.get(name) for name in _STATES)
    word = next((word for word in words if isinstance(word, str)), "")
    return re.sub(r"[\s-]+", "_", word.strip().lower())


# What a refusal means beyond `refusals.yaml`: errors inside 200.


@dataclass(frozen=True, slots=True)
class Refusals:
    """`models` names what the server is known to serve."""

    access: Access
    models: str = ""

    def explain(self, reply: Reply) -> Explanation:
        return self._explained(_fault(reply))

    def explain_success(self, reply: Reply) -> Explanation:
        """What a 2xx reply without an image means: gateways send errors with any status."""
        body, fault = reply.json(), _fault(reply)
        if fault.status < HTTPStatus.BAD_REQUEST and not _says_error(body):
            # A refused prompt may come as an empty list with a message: only rows that match by words count.
            fault = replace(fault, status=0)
        meaning = self._explained(fault)
        if not meaning.next_step:
            words = spelled(_without_metadata(body))
            said = "the service reported success without an image" + (f" ({words})" if words else "")
            return Explanation(error=ServerUnavailable, said=said, next_step=_ACCEPTED)
        if meaning.error is not ServerUnavailable:
            return meaning
        return replace(meaning, next_step=_ACCEPTED, retry_after=None)

    def _explained(self, fault: Fault) -> Explanation:
        listed = f"; it has {self.models}" if self.models else ""
        return TABLE.explain(fault, self.access, models=listed, login=self._login)

    @property
    def _login(self) -> str:
        if self.access.api_key:
            return f"Check {self.access.where('api_key')}; keys belong to one service and one account"
        if self.access.username:
            return f"Check {self.access.where('username')}, and the password"
        return f"The server requires a key: fill {self.access.where('api_key')}"


def _fault(reply: Reply) -> Fault:
    body = reply.json()
    if state_in(body) in _FAILED:
        return Fault.read(reply, said=f"HTTP {reply.status}, {spelled(body)}")
    fault, filtered = Fault.read(reply), ", ".join(_filtered_in(body))
    return replace(fault, said=f"{fault.said} (filtered: {filtered})") if filtered else fault


def _filtered_in(body: object) -> Iterator[str]:
    """The categories by which Azure's content filter refused a prompt or an image, each with its severity."""
    for entry in _objects(body):
        for category, found in entry.items():
            match found:
                case {"filtered": True, **more}:
                    yield f"{category} {more['severity']}" if more.get("severity") else category


_METADATA = frozenset(
    {"created", "id", "object", "model", "usage", "seed", "timings", "code", "size", "quality"}
    | {"background", "output_format"}
)
_SUCCESS_WORDS = re.compile(r"\W*(success(ful|fully)?|succeeded|succeed|ok(ay)?|done|completed|成功)\W*", re.IGNORECASE)


def _without_metadata(body: object) -> object:
    if not isinstance(body, Mapping):
        return body
    return {key: value for key, value in body.items() if key not in _METADATA}


def as_reply(fault: object) -> Reply:
    """An error that stands inside a 2xx answer."""
    return Reply(200, {}, json.dumps({"error": fault}).encode())


def _says_error(body: object) -> bool:
    match body:
        case _ if state_in(body) in _FAILED:
            return True
        case [first, *_]:
            return _says_error(first)
        case dict() if any(body.get(key) for key in ("error", "errors", "detail")):
            return True
        case {"message": str(words)} | {"msg": str(words)}:
            return bool(words.strip()) and not _SUCCESS_WORDS.fullmatch(words)
        case _:
            return False
