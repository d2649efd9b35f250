"""A fake of the Comfy API v2 over the engine of the fake ComfyUI: jobs, assets, errors.

`hosted` tells Comfy Cloud and deployments from `comfy-api-proxy`: links are paths, files lie on another host, node
errors have the form of the contract, and steps are reported to polls.
"""

import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.servers.comfyui_engine import Engine
from tests.servers.json_service import Call, Headed, JsonService, running

ROOT = "/api/v2"
STATES = {"execution_success": "succeeded", "execution_error": "failed", "execution_interrupted": "canceled"}


@dataclass
class FileHost(JsonService):
    """Signed links: it refuses a request that carries a key."""

    files: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def answer(self, call: Call) -> tuple[int, object]:
        if "authorization" in call.headers:
            self.keys.append(call.headers["authorization"])
            return 400, {"error": "only one way to sign in"}
        data = self.files.get(call.path)
        return (200, data) if data else (403, {"error": "the link has expired"})


@dataclass
class FakeComfyAPI(JsonService):
    """`refusals` and `looks` are the next replies to a submission and to a question about a job. `links`: the address that
    absolute links are built from. `state`: that of every job, whatever the engine says. `signs`: outputs are signed links,
    else assets; `expired`: those have expired; `forgets_files`: they were deleted."""

    hosted: bool = False
    links: str = ""
    host: FileHost = field(default_factory=FileHost)
    refusals: deque[tuple[int, object]] = field(default_factory=deque)
    looks: deque[tuple[int, object]] = field(default_factory=deque)
    state: str = ""
    signs: bool = True
    expired: bool = False
    forgets_files: bool = False
    calls: list[Call] = field(default_factory=list)
    assets: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    graphs: list[dict[str, Any]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = Engine((0, 38, 1), self._tell)

    def _tell(self, _: str | None, kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            self.steps[data["prompt_id"]] = data

    def sent(self, method: str, path: str) -> list[Call]:
        return [call for call in self.calls if (call.method, call.path) == (method, f"{ROOT}/{path}")]

    def restart(self) -> None:
        """As `comfy-api-proxy` without a state folder, and its ComfyUI."""
        self.engine.stop()
        self.engine.forget()
        self.jobs.clear()
        self.taken.clear()
        self.engine.start()

    def refusal(self, call: Call) -> tuple[int, object] | None:
        self.calls.append(call)
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            return failure(401, "unauthorized", "Invalid token.")
        return None

    def answer(self, call: Call) -> tuple[int, object]:
        match call.method, call.path.removeprefix(f"{ROOT}/").split("/"):
            case "POST", ["jobs"]:
                return self.refusals.popleft() if self.refusals else self._submit(call)
            case "GET", ["jobs", job]:
                return self.looks.popleft() if self.looks else self._job(job)
            case "POST", ["jobs", job, "cancel"]:
                return self._cancel(job)
            case "POST", ["assets"]:
                return self._upload(call.form)
            case "GET", ["assets", asset, "content"]:
                return self._content(asset)
            case _:
                return 404, b"404: Not Found"

    def _submit(self, call: Call) -> tuple[int, object]:
        key, body = call.headers.get("idempotency-key", ""), call.body
        if set(body) - {"workflow", "extra_data"} or set(body.get("extra_data", {})) - {"api_key_comfy_org"}:
            return failure(400, "invalid_request", "'extra_data' accepts only the 'api_key_comfy_org' field.")
        if "nodes" in body["workflow"]:
            return failure(422, "workflow_format_ui", "This is a UI-export graph.")
        if not key or key in self.taken:
            return failure(422, "idempotency_key_reuse", "This Idempotency-Key has already been used.")
        self.graphs.append(body["workflow"])
        try:
            graph = self._resolved(body["workflow"])
        except KeyError as missing:
            return failure(422, "missing_asset", "Unresolvable core/ASSET reference", missing_ids=[str(missing)])
        job = str(uuid.uuid4())
        status, answer = self.engine.submit({"prompt": graph, "prompt_id": job, "client_id": job})
        if status != 200:
            faults = _contract_form(answer["node_errors"]) if self.hosted else answer["node_errors"]
            return failure(422, "invalid_workflow", answer["error"]["message"], node_errors=faults)
        self.taken.add(key)
        self.jobs[job] = key
        return 201, self._job(job)[1]

    def _resolved(self, value: Any) -> Any:
        match value:
            case {"__type": "core/ASSET", "info": {"id": asset}}:
                _, folder, name = self.assets[asset]
                return f"{folder}/{name}" if folder else name
            case dict():
                return {key: self._resolved(one) for key, one in value.items()}
            case list():
                return [self._resolved(one) for one in value]
            case _:
                return value

    def _job(self, job: str) -> tuple[int, object]:
        if job not in self.jobs:
            return failure(404, "not_found", f"No job {job}.")
        base = f"{'' if self.hosted else self.links or self.url}{ROOT}/jobs/{job}"
        body: dict[str, Any] = {"id": job, "queue_position": None, "progress": None, "outputs": [], "error": None}
        body["urls"] = {"self": base, "events": f"{base}/events", "cancel": f"{base}/cancel"}
        return 200, body | self._state_of(job)

    def _state_of(self, job: str) -> dict[str, Any]:
        if self.state:
            return {"status": self.state}
        with self.engine.lock:
            entry, current = self.engine.history.get(job), self.engine.running
            waiting = [task.prompt_id for task in sorted(self.engine.pending)]
        if entry:
            end, fault = entry["status"]["messages"][-1]
            return {
                "status": STATES[end],
                "outputs": list(self._outputs(entry["outputs"])),
                "error": _node_failure(fault) if end == "execution_error" else None,
            }
        if current is not None and current.prompt_id == job:
            return {"status": "canceling" if job in self.cancelled else "running", "progress": self._progress(job)}
        if job in waiting:
            return {"status": "queued", "queue_position": waiting.index(job) + 1}
        return {"status": "canceled" if self.hosted and job in self.cancelled else "expired"}

    def _progress(self, job: str) -> dict[str, Any]:
        step = self.steps.get(job)
        if not self.hosted or step is None:
            return {"value": 0.0, "nodes_done": 0, "nodes_total": 0}
        return {"value": 0.5, "nodes_done": 1, "nodes_total": 3, "step": step["value"], "steps": step["max"]}

    def _outputs(self, outputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for node, kinds in outputs.items():
            for file in (file for files in kinds.values() for file in files if isinstance(file, dict)):
                asset = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{file['type']}/{file['subfolder']}/{file['filename']}"))
                self.assets[asset] = (file["type"], file["subfolder"], file["filename"])
                content = f"{self.links or self.url}{ROOT}/assets/{asset}/content"
                url = self._signed(asset, expired=self.expired) if self.hosted and self.signs else content
                name = file["filename"]
                yield {
                    "node_id": node,
                    "name": name,
                    "type": "image",
                    "content_type": "image/png",
                    "id": asset,
                    "url": url,
                }

    def _signed(self, asset: str, *, expired: bool = False) -> str:
        path = f"/signed/{uuid.uuid4()}.png"
        self.host.files[path] = b"" if expired else self.engine.files[self.assets[asset]]
        return f"{self.host.url}{path}"

    def _content(self, asset: str) -> tuple[int, object]:
        data = self.engine.files.get(self.assets.get(asset, ("", "", "")))
        if data is None or self.forgets_files:
            return failure(404, "output_unavailable", "The file is gone.")
        return (302, Headed(b"", {"Location": self._signed(asset)})) if self.hosted else (200, data)

    def _cancel(self, job: str) -> tuple[int, object]:
        if job in self.jobs:
            self.cancelled.append(job)
            self.engine.cancel(job)
        return self._job(job)

    def _upload(self, form: Mapping[str, bytes | str]) -> tuple[int, object]:
        data, path = form.get("file"), str(form.get("file_path", ""))
        if not isinstance(data, bytes) or not path or not form.get("content_type"):
            return failure(422, "invalid_request", "Missing part.")
        asset, (_, _, below) = str(uuid.uuid4()), path.partition("input/")
        folder, _, name = below.rpartition("/")
        self.assets[asset] = ("input", folder, name)
        self.engine.files[self.assets[asset]] = data
        return 201, {"id": asset, "hash": None, "size_bytes": len(data), "file_path": path, "created_new": True}


def failure(status: int, code: str, message: str, **details: object) -> tuple[int, object]:
    return status, {"error": {"code": code, "message": message, "details": details or None}}


def busy(code: str, seconds: str = "7") -> tuple[int, object]:
    status, body = failure(429, code, "come back later")
    return status, Headed(body, {"Retry-After": seconds} if seconds else {})


def _contract_form(faults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node: [{"field": one["extra_info"].get("input_name"), "reason": one["message"]} for one in fault["errors"]]
        for node, fault in faults.items()
    }


def _node_failure(fault: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": "node_execution_error",
        "message": fault["exception_message"],
        "node_id": fault["node_id"],
        "class_type": fault["node_type"],
        "traceback": "/opt/ComfyUI/execution.py",
    }


@contextmanager
def comfy_api(key: str = "", *, hosted: bool = False) -> Iterator[FakeComfyAPI]:
    with running(FileHost()) as host, running(FakeComfyAPI(key, hosted=hosted, host=host)) as service:
        service.engine.start()
        try:
            yield service
        finally:
            service.engine.stop()
