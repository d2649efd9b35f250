"""The routes of the Comfy API v2 and their JSON, one method and one request each.

One contract for Comfy Cloud, serverless deployments and `comfy-api-proxy` in front of a ComfyUI. The API is beta, so that
whatever is not needed may be missing. Reference: Comfy API v2, routes, job object, assets and errors.
"""

import mimetypes
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote, urljoin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from models.backends.comfyui.client import SUFFIXES, UPLOAD_FOLDER, LooseText, NodeFaults, Refused
from models.backends.comfyui.graph import RawGraph
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import NOT_THERE, ONCE, FormField, Service
from models.backends.images import at_origin
from models.backends.reply import Reply, parse
from models.clock import Deadline
from models.entities import InputImage

SUBMIT = "Submitting the workflow to the Comfy API"
LOOK = "Looking at the job at the Comfy API"
_SUBMIT_SECONDS = 60.0  # for the answer, which comes after the validation of the graph
_NO_JOB = "00000000-0000-4000-8000-000000000000"
_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
_ENDED = (*NOT_THERE, HTTPStatus.CONFLICT)  # of a job that cannot be cancelled any more


class _ApiReply(BaseModel):
    model_config = ConfigDict(frozen=True)


class ApiProgress(_ApiReply):
    """`comfy-api-proxy` reports zeros: it knows the steps of a running job only as events."""

    step: float | None = None
    steps: float | None = None
    nodes_done: int | None = None
    nodes_total: int | None = None
    current_node_class: LooseText = ""

    @property
    def words(self) -> str:
        if self.steps and self.steps > 1:
            return f"step {self.step or 0:.0f}/{self.steps:.0f}"
        if self.current_node_class:
            return f"running {self.current_node_class}"
        return f"{self.nodes_done or 0} of {self.nodes_total} nodes finished" if self.nodes_total else "running"


class ApiOutput(_ApiReply):
    """A file that a node made. `url` may be signed and expire; the asset `id` leads to the file as long as it is kept."""

    node_id: LooseText = ""
    name: LooseText = ""
    content_type: LooseText = ""
    id: LooseText = ""
    url: LooseText = ""

    @property
    def filename(self) -> str:
        """The name, with the suffix of the type where it has none."""
        suffix = "" if PurePosixPath(self.name).suffix else mimetypes.guess_extension(self.content_type)
        return f"{self.name or self.id}{suffix or ''}"


class ApiFailure(_ApiReply):
    """Why a job failed; the traceback, which shows paths of the server, is left out."""

    code: LooseText = ""
    message: LooseText = ""
    node_id: LooseText = ""
    class_type: LooseText = ""


class ApiLinks(_ApiReply):
    job: LooseText = Field(default="", validation_alias="self")
    cancel: LooseText = ""


class ApiJob(_ApiReply):
    id: str
    status: str
    queue_position: int | None = None
    progress: ApiProgress | None = None
    outputs: Annotated[tuple[ApiOutput, ...], BeforeValidator(lambda value: value or ())] = ()
    error: ApiFailure | None = None
    urls: Annotated[ApiLinks, BeforeValidator(lambda value: value or {})] = ApiLinks()


class ApiAsset(_ApiReply):
    id: str

    @property
    def in_graph(self) -> JsonValue:
        """What stands in a graph in place of a file's name."""
        return {"__type": "core/ASSET", "info": {"id": self.id}}


def _faults(value: object) -> object:
    """The faults of one node: ComfyUI's own object, which the proxy passes on, or the contract's list."""
    if not isinstance(value, list):
        return value
    return {
        "errors": [
            {"message": fault.get("reason"), "details": fault.get("field"), "extra_info": {"input_name": fault.get("field")}}
            for fault in value
            if isinstance(fault, dict)
        ]
    }  # fmt: skip


class _Details(_ApiReply):
    node_errors: Annotated[
        Mapping[str, Annotated[NodeFaults, BeforeValidator(_faults)]], BeforeValidator(lambda value: value or {})
    ] = Field(default_factory=dict)


class _Envelope(_ApiReply):
    code: LooseText = ""
    message: LooseText = ""
    details: Annotated[_Details, BeforeValidator(lambda value: value or {})] = _Details()


class _Invalid(_ApiReply):
    error: _Envelope


@dataclass(frozen=True, slots=True)
class ComfyAPIClient:
    """The API at one address, for one account. Every method raises ImageError."""

    service: Service

    def probe(self, *, deadline: Deadline) -> None:
        """Check the address and the key by asking for a job that nobody has, which every host refuses with 404.

        The order of checks is not documented: any refusal of the request itself means that the key was taken.
        """
        attempt, path = "Checking the Comfy API", f"jobs/{_NO_JOB}"
        reply = self.service.request("GET", path, attempt=attempt, deadline=deadline, retries=ONCE, accept=_REFUSED)
        if reply.ok or not _code(reply):  # another service's answer, or a page for every path
            raise self.service.failure(attempt, self.service.explain(replace(reply, status=HTTPStatus.NOT_FOUND)))

    def upload(self, image: InputImage, *, deadline: Deadline) -> ApiAsset:
        """Store an input image. The server recognises the bytes of an earlier one, so that it may be sent again."""
        attempt = "Sending the input image to the Comfy API"
        name = f"{uuid.uuid4()}.{SUFFIXES.get(image.mime_type, 'png')}"
        form: dict[str, FormField] = {
            "content_type": image.mime_type,
            "file_path": f"input/{UPLOAD_FOLDER}/{name}",
            "file": (name, image.data, image.mime_type),
        }
        try:
            reply = self.service.request("POST", "assets", attempt=attempt, deadline=deadline, form=form)
        except ImageError as error:
            if not error.transient:
                raise
            reply = self.service.request("POST", "assets", attempt=attempt, deadline=deadline, form=form)
        return parse(reply, ApiAsset, attempt=attempt)

    def submit(self, graph: RawGraph, *, account_key: str, deadline: Deadline) -> ApiJob | Refused:
        """Order a job; `Refused` where the graph is.

        The order has one key, which the service takes once and gives back with a definite refusal. A busy service is
        asked again with it; after any other failure the order may have been taken and is not sent again.
        """
        body: dict[str, object] = {"workflow": graph}
        if account_key:
            body["extra_data"] = {"api_key_comfy_org": account_key}
        reply = self.service.request(
            "POST",
            "jobs",
            attempt=SUBMIT,
            deadline=deadline,
            json=body,
            headers={"Idempotency-Key": str(uuid.uuid4())},
            read_timeout=_SUBMIT_SECONDS,
            accept=(HTTPStatus.UNPROCESSABLE_ENTITY,),
        )
        if reply.ok:
            return parse(reply, ApiJob, attempt=SUBMIT)
        if _code(reply) != "invalid_workflow":
            raise self.service.failure(SUBMIT, self.service.explain(reply))
        invalid = parse(reply, _Invalid, attempt=SUBMIT).error
        fault = {"type": invalid.code, "message": invalid.message}
        return Refused.model_validate({"error": fault, "node_errors": invalid.details.node_errors})

    def job(self, job: str, link: str, *, deadline: Deadline) -> Reply:
        """The state of a job, which is read by `parse_job`."""
        service, path = self._at(link, f"jobs/{quote(job, safe='')}")
        reply = service.request("GET", path, attempt=LOOK, deadline=deadline, retries=ONCE, accept=NOT_THERE)
        if reply.ok:
            return reply
        said = "the job was not found: it was deleted, or the service restarted without a record of it"
        raise ServerUnavailable(f"{LOOK} failed", said, "Run it again")

    def cancel(self, job: str, link: str, *, deadline: Deadline) -> None:
        service, path = self._at(link, f"jobs/{quote(job, safe='')}/cancel")
        attempt = "Cancelling the job at the Comfy API"
        service.request("POST", path, attempt=attempt, deadline=deadline, accept=_ENDED)

    def content_url(self, asset: str) -> str:
        """The address of an asset's bytes; it redirects to a fresh link where the files lie on another host."""
        return f"{self.service.base_url}/assets/{quote(asset, safe='')}/content"

    def _at(self, link: str, route: str) -> tuple[Service, str]:
        """Where a link of the service leads, at the form's own origin, which alone gets the key.

        Links are paths from the origin, or absolute and built from the address at which the service saw the request. Behind
        a proxy that is not the form's; then the documented route below the form's address is asked.
        """
        base = self.service.base_url
        from_origin = link.startswith("/") and not link.startswith("//")
        follows = from_origin or link.startswith(f"{base}/")
        return at_origin(self.service, urljoin(base, link)) if follows else (self.service, route)


def _code(reply: Reply) -> str:
    match reply.json():
        case {"error": {"code": str(code)}}:
            return code
        case _:
            return ""


def parse_job(reply: Reply) -> ApiJob:
    return parse(reply, ApiJob, attempt=LOOK)
