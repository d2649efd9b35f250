"""The engine of the fake ComfyUI: validation, queue, execution, cache, files.

For a client it behaves like the recorded servers (0.3.64 and 0.10.0) and the source code of 0.38.1.
Nodes are the recorded definitions and the recordings' two test nodes: `DevSleep` takes `seconds` in `steps` and obeys
interrupts, `DevFail` raises what `kind` names.
"""

import copy
import heapq
import io
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.servers.scenes import Order, painted
from tests.video_files import mp4, webm

FIXTURES = Path(__file__).parent.parent / "fixtures" / "comfyui"
DEV_NODES = {
    "DevSleep": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "seconds": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 600.0}],
                "steps": ["INT", {"default": 4, "min": 1, "max": 1000}],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}],
            }
        },
        "output": ["IMAGE"],
        "display_name": "DevSleep",
        "output_node": False,
    },
    "DevFail": {
        "input": {"required": {"image": ["IMAGE"], "kind": [["value_error", "cuda_oom", "runtime"]]}},
        "output": ["IMAGE"],
        "display_name": "DevFail",
        "output_node": False,
    },
}
FAILURES = {
    "value_error": ("ValueError", "deliberate failure of a node"),
    "cuda_oom": (
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.78 GiB of which 1.02 GiB is "
        "free.\nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might "
        "have accidentally set the batch_size to a large number.",
    ),
    "runtime": ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x1280)"),
}
TRACEBACK = ['  File "/opt/ComfyUI/execution.py", line 518, in execute\n']

type Json = Any
type Publish = Callable[[str | None, str, dict[str, Json]], None]
"""(client id or None for everybody, message type, data)."""


class Interrupted(Exception):
    pass


class NodeFailed(Exception):
    def __init__(self, kind: str) -> None:
        self.kind, self.text = FAILURES[kind]
        super().__init__(kind)


@dataclass(order=True)
class Task:
    number: float
    prompt_id: str
    graph: dict[str, Json] = field(compare=False)
    extra: dict[str, Json] = field(compare=False)
    outputs: list[str] = field(compare=False)

    @property
    def item(self) -> list[Json]:
        return [self.number, self.prompt_id, self.graph, self.extra, self.outputs]


class Engine:
    """One server process. `gate` cleared: a DevSleep node waits. `gap`: seconds between queue and history.

    `draw` makes the file of an image in place of the usual one: from its width and height and the job.
    """

    def __init__(self, version: tuple[int, ...], publish: Publish) -> None:
        self.version, self.publish = version, publish
        self.draw: Callable[[int, int, Task], bytes] | None = None
        info = json.loads((FIXTURES / "object_info_selected.json").read_text("utf-8"))
        self.object_info: dict[str, Json] = {**info, **copy.deepcopy(DEV_NODES)}
        self.lock = threading.RLock()
        self.gate = threading.Event()
        self.gate.set()
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.executed: list[str] = []
        self._alive = threading.Event()
        self.forget()

    def forget(self) -> None:
        """The state lost in a restart: queue, history, cache and temporary files."""
        with self.lock:
            self.pending: list[Task] = []
            self.running: Task | None = None
            self.history: OrderedDict[str, Json] = OrderedDict()
            self.number = 0
            self.cache: dict[str, Json] = {}
            self.interrupted: set[str] = set()
            self.files = {key: data for key, data in self.files.items() if key[0] != "temp"}

    def start(self) -> None:
        alive = self._alive = threading.Event()
        alive.set()
        threading.Thread(target=self._work, args=(alive,), daemon=True).start()

    def stop(self) -> None:
        self._alive.clear()

    # Submission

    def submit(self, body: Json) -> tuple[int, Json]:
        if not isinstance(body, dict) or "prompt" not in body:
            return 400, refused("no_prompt", "No prompt provided", "No prompt provided")
        prompt_id = body.get("prompt_id", str(uuid.uuid4()))
        if self.version >= (0, 38) and not _canonical(prompt_id):
            return 400, refused("invalid_prompt_id", "prompt_id must be a UUID", str(prompt_id))
        graph = body["prompt"]
        with self.lock:
            number = float(body.get("number", -self.number if body.get("front") else self.number))
            self.number += 1
        outputs, verdict, faults = self._validate(graph)
        if verdict:
            return 400, {**verdict, "node_errors": faults}
        extra = {**body.get("extra_data", {}), "client_id": body.get("client_id"), "create_time": _now()}
        with self.lock:
            heapq.heappush(self.pending, Task(number, prompt_id, graph, extra, outputs))
        self._status()
        return 200, {"prompt_id": prompt_id, "number": number, "node_errors": faults}

    def _validate(self, graph: dict[str, Json]) -> tuple[list[str], Json, dict[str, Json]]:
        for key, node in graph.items():
            if "class_type" not in node:
                return [], self._no_class(key, node, "a node is missing the class_type property."), {}
            if node["class_type"] not in self.object_info:
                return [], self._no_class(key, node, f"node {node['class_type']} does not exist."), {}
        ends = [key for key, node in graph.items() if self.object_info[node["class_type"]].get("output_node")]
        if not ends:
            return [], refused("prompt_no_outputs", "Prompt has no outputs", ""), {}
        faults: dict[str, Json] = {}
        good = [end for end in ends if not self._faults_of(graph, end, end, faults, set())]
        if not good:
            text = "Prompt outputs failed validation"
            return [], refused("prompt_outputs_failed_validation", text, ""), faults
        return good, None, faults

    def _no_class(self, key: str, node: Json, why: str) -> Json:
        if self.version >= (0, 38):
            info = {"node_id": key, "class_type": node.get("class_type"), "node_title": "x"}
            return refused("missing_node_type", f"Cannot execute because {why}", f"Node ID '#{key}'", info)
        return refused("invalid_prompt", f"Cannot execute because {why}", f"Node ID '#{key}'")

    def _faults_of(self, graph: Json, key: str, end: str, faults: dict[str, Json], seen: set[str]) -> bool:
        if key in seen:
            return bool(faults.get(key))
        seen.add(key)
        node, found = graph[key], []
        bad = False
        for name, spec in self.object_info[node["class_type"]]["input"].get("required", {}).items():
            value = node.get("inputs", {}).get(name)
            if value is None:
                found.append(fault("required_input_missing", "Required input is missing", name, name))
            elif _is_link(value):
                if value[0] not in graph:
                    found.append(
                        fault("exception_during_validation", "Exception when validating node", f"'{value[0]}'")
                    )
                else:
                    bad |= self._faults_of(graph, value[0], end, faults, seen)
            else:
                found.extend(self._value_faults(node["class_type"], name, spec, value))
        if found:
            entry = faults.setdefault(key, {"errors": found, "dependent_outputs": [], "class_type": node["class_type"]})
            entry["dependent_outputs"].append(end)
        return bad or bool(found)

    def _value_faults(self, class_type: str, name: str, spec: Json, value: Json) -> Iterator[Json]:
        kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
        choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
        if options.get("image_upload"):
            if self.input_file(str(value)) is None:
                yield fault("custom_validation_failed", "Custom validation failed for node",
                            f"{name} - Invalid image file: {value}", name)  # fmt: skip
        elif choices is not None and value not in choices:
            short = len(choices) <= 20
            shown = str(choices) if short else f"(list of length {len(choices)})"
            yield fault("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", name,
                        spec if short else None, value)  # fmt: skip
        elif kind in ("INT", "FLOAT"):
            low, high = options.get("min"), options.get("max")
            if low is not None and value < low:
                yield fault(
                    "value_smaller_than_min", f"Value {value} smaller than min of {low}", name, name, spec, value
                )
            if high is not None and value > high:
                yield fault(
                    "value_bigger_than_max", f"Value {value} bigger than max of {high}", name, name, spec, value
                )

    def input_file(self, name: str) -> bytes | None:
        kind = "input"
        for other in ("input", "output", "temp"):
            if name.endswith(f" [{other}]"):
                name, kind = name.removesuffix(f" [{other}]"), other
        folder, _, file = name.rpartition("/")
        return self.files.get((kind, folder, file))

    # Queue

    def remaining(self) -> int:
        return len(self.pending) + (self.running is not None)

    def delete(self, ids: list[str]) -> None:
        with self.lock:
            self.pending = [task for task in self.pending if task.prompt_id not in ids]
            heapq.heapify(self.pending)
        self._status()

    def interrupt(self, prompt_id: str | None) -> None:
        with self.lock:
            if self.running is not None and prompt_id in {None, self.running.prompt_id}:
                self.interrupted.add(self.running.prompt_id)

    def cancel(self, prompt_id: str) -> bool:
        with self.lock:
            waiting = any(task.prompt_id == prompt_id for task in self.pending)
            running = self.running is not None and self.running.prompt_id == prompt_id
        self.delete([prompt_id])
        self.interrupt(prompt_id)
        return waiting or running

    # Execution

    def _work(self, alive: threading.Event) -> None:
        while alive.is_set():
            with self.lock:
                task = self.running = heapq.heappop(self.pending) if self.pending else None
            if task is None:
                time.sleep(0.002)
                continue
            entry = self._execute(task, alive)
            if not alive.is_set():
                return
            with self.lock:
                self.executed.append(task.prompt_id)
                self.history[task.prompt_id] = entry
                self.running = None
            self._status()
            self._tell(task, "executing", node=None)

    def _execute(self, task: Task, alive: threading.Event) -> Json:
        messages: list[Json] = []
        outputs: dict[str, Json] = {}

        def log(kind: str, **data: Json) -> None:
            data = {"prompt_id": task.prompt_id, **data, "timestamp": _now()}
            messages.append([kind, data])
            self._tell(task, kind, **data)

        log("execution_start")
        order = list(self._order(task))
        cached = [key for key in order if self._signature(task.graph, key) in self.cache]
        log("execution_cached", nodes=cached)
        current, status = "", "success"
        try:
            for key in order:
                current = key
                self._run_node(task, key, outputs, cached, alive)
            log("execution_success")
        except Interrupted:
            status = "error"
            log("execution_interrupted", node_id=current, node_type=task.graph[current]["class_type"], executed=[])
        except NodeFailed as error:
            status = "error"
            log("execution_error", node_id=current, node_type=task.graph[current]["class_type"], executed=[],
                exception_message=f"{error.text}\n", exception_type=error.kind, traceback=TRACEBACK,
                current_inputs={"image": ["tensor([[[0.2]]])"]}, current_outputs=[])  # fmt: skip
        return {
            "prompt": task.item,
            "outputs": outputs,
            "status": {"status_str": status, "completed": status == "success", "messages": messages},
            "meta": {},
        }

    def _order(self, task: Task) -> Iterator[str]:
        seen: set[str] = set()

        def visit(key: str) -> Iterator[str]:
            if key not in seen:
                seen.add(key)
                for value in task.graph[key]["inputs"].values():
                    if _is_link(value):
                        yield from visit(value[0])
                yield key

        for end in task.outputs:
            yield from visit(end)

    def _run_node(self, task: Task, key: str, outputs: Json, cached: list[str], alive: threading.Event) -> None:
        node = task.graph[key]
        signature = self._signature(task.graph, key)
        if key not in cached:
            self._tell(task, "executing", node=key, display_node=key)
            self._tell(task, "progress_state", nodes={key: {"value": 0.0, "max": 1.0, "state": "running"}})
            self.cache[signature] = self._result(task, key, node["inputs"], alive)
        made = self.cache[signature]
        if made:
            outputs[key] = made
            self._tell(task, "executed", node=key, display_node=key, output=made)

    def _result(self, task: Task, key: str, inputs: Json, alive: threading.Event) -> Json:
        match task.graph[key]["class_type"]:
            case "DevSleep":
                self._sleep(task, key, inputs, alive)
            case "DevFail":
                raise NodeFailed(inputs["kind"])
            case "KSampler":
                for step in range(1, inputs["steps"] + 1):
                    self._tell(task, "progress", value=step, max=inputs["steps"], node=key)
            case "SaveImage":
                return self._save(task, key, "output", inputs["filename_prefix"])
            case "PreviewImage":
                return self._save(task, key, "temp", f"ComfyUI_temp_{uuid.uuid4().hex[:5]}")
            case "SaveAnimatedWEBP":
                made = self._save(task, key, "output", inputs["filename_prefix"], "webp")
                return {**made, "animated": [True]}
            case "SaveVideo" | "SaveWEBM" as kind:
                suffix = "mp4" if kind == "SaveVideo" else "webm"
                return {**self._save(task, key, "output", inputs["filename_prefix"], suffix), "animated": [True]}
            case "VHS_VideoCombine":
                made = self._save(task, key, "output", inputs["filename_prefix"], "mp4")
                return {"gifs": [{**file, "format": "video/h264-mp4"} for file in made["images"]]}
            case _:
                pass
        return None

    def _sleep(self, task: Task, key: str, inputs: Json, alive: threading.Event) -> None:
        for step in range(1, inputs["steps"] + 1):
            end = time.monotonic() + inputs["seconds"] / inputs["steps"]
            while time.monotonic() < end or not self.gate.is_set():
                if task.prompt_id in self.interrupted or not alive.is_set():
                    raise Interrupted
                time.sleep(0.002)
            self._tell(task, "progress", value=step, max=inputs["steps"], node=key)

    def _save(self, task: Task, key: str, kind: str, prefix: str, suffix: str = "png") -> Json:
        folder, _, stem = prefix.rpartition("/")
        width, height, count = self._shape(task.graph, key)
        images = []
        for _ in range(count):
            with self.lock:
                number = 1 + sum(k == kind and f == folder and n.startswith(f"{stem}_") for k, f, n in self.files)
                name = f"{stem}_{number:05}_.{suffix}"
                drawn = self.draw and self.draw(width, height, task)
                small = drawn or _image_file(width, height, number, suffix, task)
                order = partial(_scene, task, (width, height), number)
                self.files[kind, folder, name] = painted(small, order) if suffix == "png" else small
            images.append({"filename": name, "subfolder": folder, "type": kind})
        return {"images": images}

    def _shape(self, graph: Json, key: str) -> tuple[int, int, int]:
        """Width, height and number of the images of a save node: those of the nearest upstream node with a size."""
        count = 1
        waiting = [key]
        for name in waiting:  # the list grows while it is walked
            inputs = graph[name]["inputs"]
            count *= inputs.get("amount", 1)
            if isinstance(inputs.get("width"), int) and graph[name]["class_type"].startswith("Empty"):
                return inputs["width"], inputs["height"], count * inputs.get("batch_size", 1)
            waiting.extend(value[0] for value in inputs.values() if _is_link(value))
        return 64, 48, count

    def _signature(self, graph: Json, key: str) -> str:
        node = graph[key]
        inputs = {
            name: [self._signature(graph, value[0]), value[1]] if _is_link(value) else value
            for name, value in node["inputs"].items()
        }
        return json.dumps([node["class_type"], inputs], sort_keys=True)

    # Events

    def _tell(self, task: Task, kind: str, **data: Json) -> None:
        client = task.extra.get("client_id")
        if client is not None:
            self.publish(client, kind, {"prompt_id": task.prompt_id, **data})

    def _status(self) -> None:
        self.publish(None, "status", {"status": {"exec_info": {"queue_remaining": self.remaining()}}})


def refused(kind: str, message: str, details: str, info: Json = None) -> Json:
    error = {"type": kind, "message": message, "details": details, "extra_info": info or {}}
    return {"error": error, "node_errors": {}}


def fault(
    kind: str, message: str, details: str, name: str | None = None, config: Json = None, received: Json = None
) -> Json:
    info = {"input_name": name, "input_config": config, "received_value": received, "traceback": TRACEBACK}
    return {"type": kind, "message": message, "details": details, "extra_info": info if name else {}}


def _is_link(value: Json) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _canonical(text: Json) -> bool:
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _now() -> int:
    return int(time.time() * 1000)


def _scene(task: Task, size: tuple[int, int], number: int) -> Order:
    """The first text, checkpoint and seed of a graph, for the demo; small sizes of a test graph become a megapixel."""
    nodes = [node["inputs"] for node in task.graph.values()]

    def first(*names: str) -> Json:
        return next((node[name] for name in names for node in nodes if isinstance(node.get(name), str | int)), "")

    scale = max(1, round(1024 / max(size)))
    return Order(
        service="ComfyUI",
        model=str(first("ckpt_name", "unet_name") or "workflow"),
        prompt=str(first("text", "prompt")),
        size=(size[0] * scale, size[1] * scale),
        seed=int(first("seed", "noise_seed") or number),
    )


def _image_file(width: int, height: int, number: int, suffix: str, task: Task) -> bytes:
    if suffix in {"mp4", "webm"}:
        return mp4(width, height) if suffix == "mp4" else webm(width, height)
    out = io.BytesIO()
    image = Image.new("RGB", (width, height), (number * 40 % 256, 90, 160))
    if suffix == "webp":
        image.save(out, "WEBP", save_all=True, append_images=[Image.new("RGB", (width, height), "white")])
        return out.getvalue()
    texts = PngInfo()
    texts.add_text("prompt", json.dumps(task.graph))
    for name, value in task.extra.get("extra_pnginfo", {}).items():
        texts.add_text(name, json.dumps(value))
    image.save(out, "PNG", pnginfo=texts)
    return out.getvalue()
