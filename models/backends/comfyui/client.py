"""ComfyUI's REST routes, one method and one request each, and the upload of input images.

Reference: ComfyUI `server.py`, routes `/prompt`, `/queue`, `/interrupt`, `/history/{id}`, `/api/jobs/{id}/cancel`,
`/view`, `/upload/image`, `/object_info/{class}`, `/system_stats`. The path of the configured address is kept, for
servers behind a reverse proxy.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, JsonValue

from models.backends.comfyui.wire import (
    Accepted,
    Cancelled,
    FileRef,
    History,
    HistoryEntry,
    NodeInfo,
    PromptRequest,
    Queue,
    Refused,
    SystemStats,
    Uploaded,
)
from models.backends.errors import ImageError
from models.backends.http import MIB, ONCE, FormField, Service
from models.backends.reply import Reply, parse
from models.clock import Deadline
from models.entities import InputImage

UPLOAD_FOLDER = "dify"
_MAX_IMAGE_BYTES = 128 * MIB
_MAX_QUEUE_BYTES = 64 * MIB  # the queue carries every waiting graph
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "image/bmp": "bmp"}


@dataclass(frozen=True, slots=True)
class ComfyUIClient:
    """One ComfyUI server as one account sees it. Every method raises ImageError."""

    service: Service

    def submit(self, request: PromptRequest, *, deadline: Deadline) -> Accepted | Refused:
        """Queue a job. `Refused` when the validation found no output that could run."""
        attempt = "Submitting the workflow to ComfyUI"
        reply = self.service.request(
            "POST",
            "prompt",
            attempt=attempt,
            deadline=deadline,
            json=request.model_dump(mode="json", exclude_none=True),
            accept=(HTTPStatus.BAD_REQUEST,),
        )
        # A 400 of any other shape comes from a proxy and says nothing about the workflow.
        if reply.status == HTTPStatus.BAD_REQUEST and _is_refusal(reply):
            return parse(reply, Refused, attempt=attempt)
        if not reply.ok:
            raise self.service.failure(attempt, self.service.explain(reply))
        return parse(reply, Accepted, attempt=attempt)

    def entry(self, prompt_id: str, *, deadline: Deadline) -> HistoryEntry | None:
        """The finished job; None while it is unknown, waiting or running. Not retried: the caller asks again anyway."""
        path = f"history/{quote(prompt_id)}"
        history = self._get(path, History, "Asking ComfyUI for the result", deadline, read_timeout=30.0)
        return history.root.get(prompt_id)

    def queue(self, *, deadline: Deadline) -> Queue:
        """The running and the waiting jobs. Not retried: the caller asks again anyway."""
        attempt = "Asking ComfyUI for its queue"
        return self._get("queue", Queue, attempt, deadline, read_timeout=30.0, max_bytes=_MAX_QUEUE_BYTES)

    def stats(self, *, deadline: Deadline) -> SystemStats:
        """The server's version."""
        return self._get("system_stats", SystemStats, "Checking ComfyUI", deadline)

    def node(self, class_type: str, *, deadline: Deadline) -> Mapping[str, JsonValue]:
        """`{class_type: definition}`, empty when the server has no such node."""
        path = f"object_info/{quote(class_type, safe='')}"
        return self._get(path, NodeInfo, f"Asking ComfyUI for the node {class_type}", deadline).root

    def view(self, file: FileRef, *, deadline: Deadline) -> bytes | None:
        """The bytes of a file; None when the server no longer has it."""
        reply = self.service.request(
            "GET",
            "view",
            attempt=f"Fetching {file.filename} from ComfyUI",
            deadline=deadline,
            params={"filename": file.filename, "subfolder": file.subfolder, "type": file.type},
            max_bytes=_MAX_IMAGE_BYTES,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        return reply.body if reply.ok else None

    def upload(self, image: InputImage, *, deadline: Deadline) -> str:
        """Store an input image; returns the value for a LoadImage node.

        The input folder is shared by all users and never cleaned up: names are random and lie in a folder of their own.
        """
        name = f"{uuid.uuid4()}.{_SUFFIXES.get(image.mime_type, 'png')}"
        try:
            return self._upload(name, image, deadline)
        except ImageError as error:
            if not error.transient:
                raise
            return self._upload(name, image, deadline)  # the same bytes under the same name are the same file

    def remove_pending(self, ids: Iterable[str], *, deadline: Deadline) -> None:
        """Remove waiting jobs from the queue; the server ignores running and unknown ids."""
        self._cancel("queue", deadline, {"delete": list(ids)})

    def interrupt(self, prompt_id: str, *, deadline: Deadline) -> None:
        """Stop this job if it is the one that runs. Never without an id: that would stop another user's job."""
        self._cancel("interrupt", deadline, {"prompt_id": prompt_id})

    def cancel(self, prompt_id: str, *, deadline: Deadline) -> bool:
        """Cancel a waiting or running job in one step; False on servers that do not know the route, or the job."""
        reply = self._cancel(f"api/jobs/{quote(prompt_id)}/cancel", deadline)
        return reply.ok and parse(reply, Cancelled, attempt="Cancelling the job at ComfyUI").cancelled

    def _get[M: BaseModel](self, path: str, model: type[M], attempt: str, deadline: Deadline, **limits: Any) -> M:
        reply = self.service.request("GET", path, attempt=attempt, deadline=deadline, retries=ONCE, **limits)
        return parse(reply, model, attempt=attempt)

    def _upload(self, name: str, image: InputImage, deadline: Deadline) -> str:
        attempt = "Sending the input image to ComfyUI"
        form: dict[str, FormField] = {
            "image": (name, image.data, image.mime_type),
            "type": "input",
            "subfolder": UPLOAD_FOLDER,
        }
        reply = self.service.request("POST", "upload/image", attempt=attempt, deadline=deadline, form=form)
        return parse(reply, Uploaded, attempt=attempt).as_input

    def _cancel(self, path: str, deadline: Deadline, body: Mapping[str, object] | None = None) -> Reply:
        return self.service.request(
            "POST",
            path,
            attempt="Cancelling the job at ComfyUI",
            deadline=deadline,
            json=body,
            accept=(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED),
        )


def _is_refusal(reply: Reply) -> bool:
    match reply.json():
        case {"error": {"type": str()}}:
            return True
        case _:
            return False
