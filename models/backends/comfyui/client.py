"""ComfyUI's REST routes, one method and one request each.

Reference: ComfyUI `server.py`, routes `/prompt`, `/queue`, `/interrupt`, `/history/{id}`, `/api/jobs/{id}/cancel`,
`/view`, `/upload/image`, `/object_info/{class}`, `/system_stats`. The path of the configured address is kept, for
servers behind a reverse proxy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from pydantic import JsonValue

from models.backends.comfyui.wire import (
    Accepted,
    Cancelled,
    Entry,
    FileRef,
    History,
    NodeInfo,
    PromptRequest,
    Queue,
    Refused,
    SystemStats,
    Uploaded,
)
from models.backends.errors import AuthorizationFailed, BadRequest, class_for_status
from models.backends.http import MIB, ONCE, Service, basic_auth, bearer_auth, split_userinfo
from models.backends.reply import Explanation, Reply, parse, said_by
from models.clock import Clock, Deadline
from models.settings import Access

TITLE = "ComfyUI"
MAX_IMAGE_BYTES = 128 * MIB
_MAX_QUEUE_BYTES = 64 * MIB  # the queue carries every waiting graph


@dataclass(frozen=True, slots=True)
class Server:
    """One ComfyUI as one account sees it. Every method raises ImageError."""

    service: Service

    def submit(self, request: PromptRequest, *, deadline: Deadline) -> Accepted | Refused:
        """Queue a job. `Refused` when the validation found no output that could run."""
        attempt = f"Submitting the workflow to {TITLE}"
        reply = self.service.request(
            "POST",
            "prompt",
            attempt=attempt,
            deadline=deadline,
            json=request.model_dump(mode="json", exclude_none=True),
            accept=(HTTPStatus.BAD_REQUEST,),
        )
        # A 400 in any other shape comes from a proxy, and is no verdict on the workflow.
        if reply.status == HTTPStatus.BAD_REQUEST and _is_refusal(reply):
            return parse(reply, Refused, attempt=attempt)
        if not reply.ok:
            raise self.service.failure(attempt, self.service.explain(reply))
        return parse(reply, Accepted, attempt=attempt)

    def entry(self, prompt_id: str, *, deadline: Deadline) -> Entry | None:
        """The finished job, None while it is unknown, waiting or running. Not repeated: whoever waits asks again."""
        attempt = f"Asking {TITLE} for the result"
        reply = self.service.request(
            "GET", f"history/{quote(prompt_id)}", attempt=attempt, deadline=deadline, read_timeout=30.0, retries=ONCE
        )
        return parse(reply, History, attempt=attempt).root.get(prompt_id)

    def queue(self, *, deadline: Deadline) -> Queue:
        """Who runs and who waits. Not repeated: whoever waits asks again."""
        attempt = f"Asking {TITLE} for its queue"
        reply = self.service.request(
            "GET",
            "queue",
            attempt=attempt,
            deadline=deadline,
            read_timeout=30.0,
            max_bytes=_MAX_QUEUE_BYTES,
            retries=ONCE,
        )
        return parse(reply, Queue, attempt=attempt)

    def view(self, file: FileRef, *, deadline: Deadline) -> bytes | None:
        """The bytes of a file, None when the server has it no more."""
        reply = self.service.request(
            "GET",
            "view",
            attempt=f"Fetching {file.filename} from {TITLE}",
            deadline=deadline,
            params={"filename": file.filename, "subfolder": file.subfolder, "type": file.type},
            max_bytes=MAX_IMAGE_BYTES,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        return reply.body if reply.ok else None

    def upload(self, name: str, data: bytes, mime_type: str, *, subfolder: str, deadline: Deadline) -> Uploaded:
        """Store an input image; the answer names what the server made of `name`."""
        attempt = f"Sending the input image to {TITLE}"
        reply = self.service.request(
            "POST",
            "upload/image",
            attempt=attempt,
            deadline=deadline,
            form={"image": (name, data, mime_type), "type": "input", "subfolder": subfolder},
        )
        return parse(reply, Uploaded, attempt=attempt)

    def stats(self, *, deadline: Deadline) -> SystemStats:
        attempt = f"Checking {TITLE}"
        reply = self.service.request("GET", "system_stats", attempt=attempt, deadline=deadline, retries=ONCE)
        return parse(reply, SystemStats, attempt=attempt)

    def node(self, class_type: str, *, deadline: Deadline) -> Mapping[str, JsonValue]:
        """`{class_type: definition}`, empty when the server has no such node."""
        attempt = f"Asking {TITLE} for the node {class_type}"
        reply = self.service.request(
            "GET", f"object_info/{quote(class_type, safe='')}", attempt=attempt, deadline=deadline, retries=ONCE
        )
        return parse(reply, NodeInfo, attempt=attempt).root

    def remove_pending(self, ids: Iterable[str], *, deadline: Deadline) -> None:
        """Take waiting jobs out of the queue; running and unknown ids are left alone by the server."""
        self._command("queue", {"delete": list(ids)}, deadline)

    def interrupt(self, prompt_id: str, *, deadline: Deadline) -> None:
        """Stop this job if it is the one that runs. Never without an id: that would stop other people's work."""
        self._command("interrupt", {"prompt_id": prompt_id}, deadline)

    def cancel(self, prompt_id: str, *, deadline: Deadline) -> bool:
        """Cancel a waiting or running job in one step; False on servers that do not know the route, or the job."""
        reply = self.service.request(
            "POST",
            f"api/jobs/{quote(prompt_id)}/cancel",
            attempt=f"Cancelling the job at {TITLE}",
            deadline=deadline,
            accept=(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED),
        )
        return reply.ok and parse(reply, Cancelled, attempt=f"Cancelling the job at {TITLE}").cancelled

    def _command(self, path: str, body: Mapping[str, object], deadline: Deadline) -> None:
        self.service.request(
            "POST", path, attempt=f"Cancelling the job at {TITLE}", deadline=deadline, json=body, read_timeout=30.0
        )


def connect(access: Access, clock: Clock) -> Server:
    """The server of one credential form: Bearer key, or Basic login from its fields or from the address itself."""
    address = access.base_url if "://" in access.base_url or not access.base_url else f"http://{access.base_url}"
    base_url, username, password = split_userinfo(address)
    username, password = access.username or username, access.password or password
    return Server(
        Service(
            name=TITLE,
            base_url=base_url,
            clock=clock,
            settings=f"`{access.field('base_url')}` {access.place}",
            headers=bearer_auth(access.api_key) or basic_auth(username, password),
            secrets=tuple({*access.secrets, *filter(None, (password,))}),
            explain=lambda reply: _explained(reply, access),
        )
    )


def _is_refusal(reply: Reply) -> bool:
    match reply.json():
        case {"error": {"type": str()}}:
            return True
        case _:
            return False


def _explained(reply: Reply, access: Access) -> Explanation:
    said = said_by(reply)
    match reply.status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            # ComfyUI itself knows no login: a proxy in front of it, or an extension, asks for one.
            fields = " or ".join(f"`{access.field(name)}`" for name in ("api_key", "username"))
            return Explanation(
                error=AuthorizationFailed,
                said=f"{said}: a login is asked for in front of the server",
                next_step=f"Fill {fields} {access.place} with what the proxy in front of {TITLE} expects",
            )
        case HTTPStatus.NOT_FOUND:
            return Explanation(
                error=BadRequest,
                said=f"{said}: there is no such address",
                next_step=f"Check that `{access.field('base_url')}` {access.place} is the address at which "
                f"{TITLE} opens in the browser",
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Explanation(
                error=BadRequest,
                said=said,
                next_step=f"Send a smaller image, or raise {TITLE}'s --max-upload-size and the limit of the proxy "
                "in front of it",
            )
        case _:
            return Explanation(error=class_for_status(reply.status), said=said)
