"""A fake server for A1111, Forge and SD.Next (`python -m tests.servers.automatic1111 --port 7860`).

It behaves as recorded: it accepts unknown names silently, runs one job at a time with a queue, shares its settings
between clients, and returns errors in the formats of each server.

Each image contains its checkpoint, seed and prompt (`read_image`). SD.Next was not recorded: the marked parts are based
on its source code.
"""

import argparse
import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import urlsplit

from PIL import Image

from tests.servers.busy import BusyServer
from tests.servers.scenes import Order, order_of, painted

type Kind = Literal["a1111", "forge", "sdnext", "old"]

VERSIONS: Mapping[Kind, str] = {"a1111": "1.10.1", "forge": "f2.0.1v1.10.1", "sdnext": "sdnext", "old": "1.6.0"}
SAMPLERS = ("DPM++ 2M", "DPM++ SDE", "Euler a", "Euler", "DDIM")
OLD_SAMPLERS = ("DPM++ 2M Karras", "DPM++ SDE Karras", "Euler a", "Euler", "DDIM")
DEFAULT_SCHEDULES = {"DPM++ 2M": "Karras", "DPM++ SDE": "Karras"}  # the meaning of "Automatic"
SELECTABLE_SCRIPTS = ("x/y/z plot", "loopback")
SCHEDULERS = (("automatic", "Automatic"), ("karras", "Karras"), ("sgm_uniform", "SGM Uniform"))
UPSCALERS = ("None", "Lanczos", "Nearest", "R-ESRGAN 4x+")
LATENT_MODES = ("Latent", "Latent (nearest)")

# Fields of the running server's own schema; Forge's five more.
_GENERATION = """prompt negative_prompt styles seed subseed subseed_strength seed_resize_from_h seed_resize_from_w
sampler_name scheduler batch_size n_iter steps cfg_scale width height restore_faces tiling do_not_save_samples
do_not_save_grid eta denoising_strength s_min_uncond s_churn s_tmax s_tmin s_noise override_settings
override_settings_restore_afterwards refiner_checkpoint refiner_switch_at disable_extra_networks firstpass_image comments
force_task_id sampler_index script_name script_args send_images save_images alwayson_scripts infotext"""
_FIELDS = {
    "txt2img": f"""{_GENERATION} enable_hr firstphase_width firstphase_height hr_scale hr_upscaler
hr_second_pass_steps hr_resize_x hr_resize_y hr_checkpoint_name hr_sampler_name hr_scheduler hr_prompt
hr_negative_prompt hr_cfg hr_distilled_cfg distilled_cfg_scale hr_additional_modules""",
    "img2img": f"""{_GENERATION} init_images resize_mode image_cfg_scale mask mask_blur_x mask_blur_y mask_blur
mask_round inpainting_fill inpaint_full_res inpaint_full_res_padding inpainting_mask_invert initial_noise_multiplier
latent_mask include_init_images distilled_cfg_scale""",
}


_DEFAULTS = {"steps": 50, "width": 512, "height": 512, "batch_size": 1, "n_iter": 1, "seed": -1}
_POSTED = {"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/interrupt"}
_EMPTY_LIST = {
    "a1111": (
        "RuntimeError",
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]",
    ),
    "forge": ("IndexError", "Dimension out of range (expected to be in range of [-1, 0], but got 1)"),
}


class _RefusedError(Exception):
    """An error reply: status, name and text of the exception."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.status, self.error, self.text = status, error, text


@dataclass
class FakeWebUI:
    """One server. Its attributes make it slow, out of memory, protected by a login, or drop connections."""

    kind: Kind = "a1111"
    checkpoints: tuple[str, ...] = ("alpha", "beta")
    vaes: tuple[str, ...] = ("vae-ft-mse.safetensors",)
    loras: tuple[str, ...] = ("paper-cut",)
    unfit_embeddings: tuple[str, ...] = ()
    styles: tuple[str, ...] = ("cinematic", "ink, wash")
    scripts: tuple[str, ...] = ("refiner", "sampler", "seed", "controlnet", "adetailer")
    auth: tuple[str, str] | None = None
    api: bool = True
    internal: bool = True  # false: started with --nowebui
    step_seconds: float = 0.0
    load_seconds: float = 0.0
    memory_pixels: int = 4096 * 4096
    ignores_overrides: bool = False
    refused_prompts: tuple[str, ...] = ()  # prompts for which generation fails
    saved_settings: set[str] = field(default_factory=lambda: {"sd_model_checkpoint"})
    starting: bool = False  # extensions are not loaded yet
    upscalings_left: int = 1000  # before the memory is full
    drops_next: bool = False  # the process is killed in the middle of the next job
    draw: Callable[[int, int, str, int, str], bytes] | None = None  # from width, height, checkpoint, seed, prompt

    def __post_init__(self) -> None:
        self.options: dict[str, Any] = {
            "sd_model_checkpoint": self.checkpoints[0],
            "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": 1,
            "samples_format": "png",
            "forge_additional_modules": [],
        }
        self.loaded = self.checkpoints[0]
        self.loads = 0
        self.requests: list[tuple[str, str, Any]] = []
        self.authorizations: set[str | None] = set()
        self.unknown_fields: set[str] = set()
        self.most_open = 0
        self.jobs = 0
        self._open = 0
        self._pool = threading.Semaphore(40)
        self._queue = _Queue()
        self._pending: list[str] = []
        self._finished: list[str] = []
        self._current: str | None = None
        self._state: dict[str, Any] = {"interrupted": False, "skipped": False, "job_timestamp": "0", "job_count": 0}
        self._progress = 0.0
        self.url = ""

    # --- inspection ---

    def bodies(self, path: str) -> list[Any]:
        """The JSON bodies that were posted to `path`, in order."""
        return [body for method, asked, body in self.requests if (method, asked) == ("POST", path)]

    def asked(self, path: str) -> int:
        return sum(1 for _, asked, _ in self.requests if asked == path)

    @contextmanager
    def run(self, port: int = 0) -> Iterator["FakeWebUI"]:
        server = BusyServer(("127.0.0.1", port), type("Handler", (_Handler,), {"fake": self}))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    # --- routes ---

    def answer(self, method: str, path: str, body: Any, authorization: str | None) -> Any:
        self.requests.append((method, path, body))
        self.authorizations.add(authorization)
        if path.startswith("/internal/"):
            return self._internal(method, path, body)
        if not self.api:
            raise _RefusedError(404, "", "Not Found")
        if path.startswith("/sdapi/") and path != "/sdapi/v1/loras":
            self._check_login(authorization)
        return self._post(path, body) if method == "POST" else self._get(path)

    def _check_login(self, authorization: str | None) -> None:
        if self.auth is None:
            return
        if not authorization or not authorization.startswith("Basic "):
            raise _RefusedError(401, "HTTPException", "Not authenticated")
        if base64.b64decode(authorization[6:]).decode() != ":".join(self.auth):
            raise _RefusedError(401, "HTTPException", "Incorrect username or password")

    def _internal(self, method: str, path: str, body: Any) -> Any:
        if not self.internal or self.kind == "sdnext":
            raise _RefusedError(404, "", "Not Found")
        if path == "/internal/ping":
            return {}
        if path == "/internal/pending-tasks":
            return {"size": len(self._pending), "tasks": list(self._pending)}
        if path != "/internal/progress":
            raise _RefusedError(404, "", "Not Found")
        if method != "POST":
            raise _RefusedError(405, "", "Method Not Allowed")
        task = body["id_task"]
        active, queued = task == self._current, task in self._pending
        place = f"In queue: {self._pending.index(task) + 1}/{len(self._pending)}" if queued else None
        return {
            "active": active,
            "queued": queued,
            "completed": task in self._finished,
            "progress": self._progress if active else None,
            "eta": 9.4 if active else None,
            "live_preview": None,
            "id_live_preview": -1,
            "textinfo": place or (None if active else "Waiting..."),
        }

    def _get(self, path: str) -> Any:
        lists: dict[str, Any] = {
            "/sdapi/v1/sd-models": [self._model(name) for name in self.checkpoints],
            "/sdapi/v1/samplers": [
                {"name": name, "aliases": [f"k_{name.lower().replace(' ', '_').replace('++', 'pp')}"], "options": {}}
                for name in (OLD_SAMPLERS if self.kind == "old" else SAMPLERS)
            ],
            "/sdapi/v1/upscalers": [
                {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
                for name in UPSCALERS
            ],
            "/sdapi/v1/prompt-styles": [
                *([{"name": "-- STYLES --", "prompt": None, "negative_prompt": None}] if self.kind == "forge" else []),
                *({"name": name, "prompt": f"{name} light", "negative_prompt": ""} for name in self.styles),
            ],
            "/sdapi/v1/loras": [
                {"name": name, "alias": f"{name}-alias", "path": "", "metadata": {}} for name in self.loras
            ],
            "/sdapi/v1/scripts": {tab: [*SELECTABLE_SCRIPTS, *self.scripts] for tab in ("txt2img", "img2img")},
            "/sdapi/v1/embeddings": {
                "loaded": {},
                "skipped": {name: {"step": 1, "vectors": 2} for name in self.unfit_embeddings},
            },
            "/sdapi/v1/options": self.options,
            "/sdapi/v1/progress": {
                "progress": self._progress,
                "eta_relative": 0.0,
                "state": self._state,
                "current_image": None,
                "textinfo": None,
            },
        }
        files = [{"model_name": name, "filename": f"C:\\webui\\models\\VAE\\{name}"} for name in self.vaes]
        lists["/sdapi/v1/sd-modules" if self.kind == "forge" else "/sdapi/v1/sd-vae"] = files
        if self.kind != "old":
            lists["/sdapi/v1/schedulers"] = [
                {"name": n, "label": label, "aliases": None, "default_rho": -1.0, "need_inner_model": False}
                for n, label in SCHEDULERS
            ]
        if self.kind == "sdnext":
            lists["/sdapi/v1/version"] = {"app": "sd.next"}
        else:
            lists["/sdapi/v1/latent-upscale-modes"] = [{"name": name} for name in LATENT_MODES]
        if "controlnet" in self.scripts:
            lists["/controlnet/model_list"] = {"model_list": ["control_v11p_sd15_canny [d14c016b]"]}
            lists["/controlnet/module_list"] = {"module_list": ["none", "canny", "depth_midas"]}
        if path in _POSTED:
            raise _RefusedError(405, "", "Method Not Allowed")
        if path not in lists or (self.starting and path == "/sdapi/v1/loras"):
            raise _RefusedError(404, "", "Not Found")
        return lists[path]

    @staticmethod
    def _model(name: str) -> dict[str, Any]:
        return {
            "title": f"{name}.safetensors [{_hash(name)}]",
            "model_name": name,
            "hash": _hash(name),
            "sha256": _hash(name) * 6,
            "filename": f"/opt/webui/models/Stable-diffusion/{name}.safetensors",
            "config": None,
        }

    def _post(self, path: str, body: Any) -> Any:
        match path:
            case "/sdapi/v1/txt2img" | "/sdapi/v1/img2img":
                return self._generate(path.rpartition("/")[2], body)
            case "/sdapi/v1/extra-single-image":
                return self._upscale(body)
            case "/sdapi/v1/interrupt":
                if self._current is not None:
                    self._state["interrupted"] = True
                return {}
            case "/sdapi/v1/options":
                self.options.update(body)
                return None
            case _:
                raise _RefusedError(404, "", "Not Found")

    # --- generating ---

    def _generate(self, tab: str, body: dict[str, Any]) -> Any:
        self.unknown_fields |= set(body) - set(_FIELDS[tab].split())
        self._check_types(tab, body)
        self._check_scripts(body)
        if body.get("prompt", "") is None:
            raise _RefusedError(500, "AssertionError", "")
        if tab == "img2img":
            self._check_inputs(body)
        task = body.get("force_task_id") or f"task({tab}-{len(self.requests)})"
        self._pending.append(task)
        with self._queue.turn():
            self._pending.remove(task)
            self._begin(task)
            try:
                return self._make(tab, body)
            finally:
                self._end(task)

    @staticmethod
    def _check_types(tab: str, body: dict[str, Any]) -> None:
        """Numbers may come as text; anything else is refused by the schema."""
        for name in ("steps", "width", "height", "batch_size", "n_iter", "seed"):
            try:
                body[name] = int(body[name]) if name in body else _DEFAULTS[name]
            except ValueError:
                raise _RefusedError(422, "schema", name) from None
        if tab == "img2img" and not isinstance(body.get("init_images", []), list):
            raise _RefusedError(422, "schema", "init_images")

    def _check_scripts(self, body: dict[str, Any]) -> None:
        known = {script.casefold() for script in self.scripts}
        for title in body.get("alwayson_scripts") or {}:
            if title.casefold() in SELECTABLE_SCRIPTS:
                text = "Cannot have a selectable script in the always on scripts params"
                raise _RefusedError(422, "HTTPException", text)
            if title.casefold() not in known:
                raise _RefusedError(422, "HTTPException", f"Script '{title}' not found")
        selected = body.get("script_name")
        if selected and selected.casefold() not in SELECTABLE_SCRIPTS:
            raise _RefusedError(422, "HTTPException", f"Script '{selected}' not found")

    def _check_inputs(self, body: dict[str, Any]) -> None:
        images = body.get("init_images")
        if images is None:
            raise _RefusedError(404, "HTTPException", "Init image not found")
        if not images:
            raise _RefusedError(500, *_EMPTY_LIST["forge" if self.kind == "forge" else "a1111"])
        if len(images) > max(body["batch_size"], 1) and len(images) > 1:
            text = f"bad number of images passed: {len(images)}; expecting {body['batch_size']} or less"
            raise _RefusedError(500, "RuntimeError", text)
        for image in [*images, *([body["mask"]] if body.get("mask") else [])]:
            if image.startswith("http"):
                raise _RefusedError(500, "HTTPException", "Request to local resource not allowed")
            _decode(image)

    def _begin(self, task: str) -> None:
        self._current = task
        self.jobs += 1
        self._progress = 0.01
        self._state.update(interrupted=False, skipped=False, job_timestamp=f"2026112112{self.jobs:04}", job_count=1)

    def _end(self, task: str) -> None:
        self._current = None
        self._finished = [*self._finished, task][-16:]
        self._progress = 0.0
        self._state["job_count"] = 0

    def _make(self, tab: str, body: dict[str, Any]) -> Any:
        with self._overridden(body.get("override_settings") or {}):
            self._load()
            clip_skip = self.options["CLIP_stop_at_last_layers"]
            vae = self.options["sd_vae"]
            batch, series = body["batch_size"], body["n_iter"]
            width, height = body["width"] // 8 * 8, body["height"] // 8 * 8
            self._check_numbers(body)
            if width * height * batch > self.memory_pixels:
                raise _RefusedError(500, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB")
            if any(word in body.get("prompt", "") for word in self.refused_prompts):
                raise _RefusedError(500, "NansException", "A tensor with all NaNs was produced in Unet.")
            if body.get("enable_hr"):
                width, height = self._hires(body, width, height)
            done = self._steps(body["steps"], series)
        first = 1234 if body["seed"] == -1 else body["seed"]
        seeds = list(range(first, first + batch * series))
        draw = self.draw or _image
        loaded, prompt = self.loaded, body.get("prompt", "")
        images = [
            painted(
                draw(width, height, loaded, s, prompt),
                lambda s=s: self._scene(body, loaded, (width, height), s),  # type: ignore[misc]
            )
            for s in seeds[: batch * done]
        ]
        if "controlnet" in (body.get("alwayson_scripts") or {}):
            unit = body["alwayson_scripts"]["controlnet"]["args"][0]
            if unit.get("save_detected_map", True):
                images.append(_image(width, height, "map", 0, ""))
        if body.get("save_images") and len(images) > 1:
            images.insert(0, _image(width * 2, height, "grid", 0, ""))
        return self._answer(body, images, seeds, clip_skip, vae)

    @staticmethod
    def _scene(body: dict[str, Any], checkpoint: str, size: tuple[int, int], seed: int) -> Order:
        """The words of a request for the demo; saved styles of the server come as a list of names."""
        order = order_of("WebUI", checkpoint, body, size=size, seed=seed)
        return replace(order, style=next(iter(body.get("styles") or []), ""))

    @staticmethod
    def _check_numbers(body: dict[str, Any]) -> None:
        if body["steps"] == 0:
            raise _RefusedError(500, "ZeroDivisionError", "integer division or modulo by zero")
        if body["width"] == 0:
            text = "Calculated padded input size per channel: (10 x 2). Kernel size: (3 x 3). "
            raise _RefusedError(500, "RuntimeError", f"{text}Kernel size can't be greater than actual input size")

    def _hires(self, body: dict[str, Any], width: int, height: int) -> tuple[int, int]:
        upscaler = body.get("hr_upscaler")
        if upscaler not in {*UPSCALERS, *LATENT_MODES}:
            raise _RefusedError(500, "Exception", f"could not find upscaler named {upscaler}")
        if self.kind == "forge" and body.get("hr_additional_modules") is None:
            raise _RefusedError(500, "TypeError", "argument of type 'NoneType' is not iterable")
        scale = body.get("hr_scale", 2.0)
        return int(width * scale), int(height * scale)

    def _answer(self, body: dict[str, Any], images: list[bytes], seeds: list[int], clip_skip: int, vae: str) -> Any:
        sampler, scheduler = self._sampling(body)
        details = ", ADetailer model: face" if "adetailer" in (body.get("alwayson_scripts") or {}) else ""
        if body.get("enable_hr") and self.kind == "forge":
            details += f", Hires CFG Scale: {body.get('hr_cfg', 1.0)}"
        text = f"{body.get('prompt', '')}\nSteps: {body.get('steps')}, Sampler: {sampler}, Schedule type: {scheduler}{details}"
        info = {
            "prompt": body.get("prompt", ""),
            "seed": seeds[0],
            "all_seeds": seeds,
            "width": body.get("width", 512),
            "height": body.get("height", 512),
            "sampler_name": sampler,
            "sd_model_name": self.loaded,
            "sd_model_hash": _hash(self.loaded),
            "sd_vae_name": None if vae in {"Automatic", "None"} else vae,
            "clip_skip": clip_skip,
            "index_of_first_image": 1 if body.get("save_images") and len(images) > 1 else 0,
            "infotexts": [text] * len(images),
            "job_timestamp": self._state["job_timestamp"],
            "version": VERSIONS[self.kind],
        }
        return {
            "images": [base64.b64encode(image).decode() for image in images if body.get("send_images", True)],
            "parameters": {},
            "info": json.dumps(info),
        }

    def _sampling(self, body: dict[str, Any]) -> tuple[str, str]:
        """Unknown names silently become the first of the list; a scheduler at the end of a sampler name is split off."""
        asked = body.get("sampler_name") or body.get("sampler_index") or "Euler"
        if self.kind == "old":
            return (asked if asked in OLD_SAMPLERS else OLD_SAMPLERS[0]), "Automatic"
        labels = {word: label for name, label in SCHEDULERS for word in (name, label)}
        schedule = labels.get(body.get("scheduler") or "")
        for _, label in SCHEDULERS:
            if asked.endswith(f" {label}"):
                asked, schedule = asked.removesuffix(f" {label}"), schedule or label
        sampler = asked if asked in SAMPLERS else SAMPLERS[0]
        automatic = schedule in {None, "Automatic"}
        return sampler, str(DEFAULT_SCHEDULES.get(sampler, "Automatic") if automatic else schedule)

    @contextmanager
    def _overridden(self, overrides: dict[str, Any]) -> Iterator[None]:
        unknown = [key for key in overrides if key not in self.options]
        if unknown:
            raise _RefusedError(500, "KeyError", repr(unknown[0]))
        if self.ignores_overrides or overrides.get("sd_model_checkpoint", self.checkpoints[0]) not in self.checkpoints:
            overrides = {key: value for key, value in overrides.items() if key != "sd_model_checkpoint"}
        before = {key: self.options[key] for key in overrides}
        self.options.update(overrides)
        try:
            yield
        finally:
            # A1111 restores only settings in config.json; Forge restores all.
            kept = {k: v for k, v in before.items() if self.kind == "forge" or k in self.saved_settings}
            self.options.update(kept)

    def _load(self) -> None:
        """The checkpoint in the current settings: a concurrent change affects the image."""
        time.sleep(self.load_seconds if self.options["sd_model_checkpoint"] != self.loaded else 0)
        if self.options["sd_model_checkpoint"] != self.loaded:
            self.loaded = self.options["sd_model_checkpoint"]
            self.loads += 1

    def _steps(self, steps: int, series: int) -> int:
        """Generate; returns the finished images per place in the batch (fewer after an interrupt)."""
        for number in range(series):
            for step in range(steps):
                if self.drops_next:
                    self.drops_next = False
                    raise ConnectionAbortedError
                time.sleep(self.step_seconds)
                self._progress = (number * steps + step + 1) / (series * steps)
                if self._state["interrupted"]:
                    return number + 1
        return series

    def _upscale(self, body: dict[str, Any]) -> Any:
        image = _decode(body.get("image", ""))
        self.upscalings_left -= 1
        if self.upscalings_left < 0:
            raise _RefusedError(500, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB")
        if body.get("upscaler_1", "None") not in UPSCALERS:
            raise _RefusedError(500, "AssertionError", f"could not find upscaler named {body['upscaler_1']}")
        factor = body.get("upscaling_resize", 2)
        by_factor = (int(image.width * factor), int(image.height * factor))
        to_size = (body.get("upscaling_resize_w", 512), body.get("upscaling_resize_h", 512))
        with self._queue.turn():
            large = image.convert("RGB").resize(to_size if body.get("resize_mode") else by_factor)
        order = Order(service="WebUI", model=body.get("upscaler_1", ""), size=large.size, task="upscale")
        data = painted(_png(large), lambda: replace(order, images=(_png(image.convert("RGB")),)))
        return {"image": base64.b64encode(data).decode(), "html_info": "<p>Postprocess upscaler</p>"}

    # --- error formats ---

    def refusal(self, refused: _RefusedError) -> Any:
        if refused.error == "schema":
            fault = {"loc": ["body", refused.text], "msg": "value is not a valid integer", "type": "type_error.integer"}
            return {"detail": [fault]}
        if not refused.error:
            return {"detail": refused.text}
        if self.kind == "forge":
            if refused.error == "HTTPException":
                return {"detail": refused.text}
            return {"error": refused.error, "detail": "", "body": "", "message": refused.text}
        spoken = refused.error == "HTTPException"
        shape = {"error": refused.error, "detail": refused.text if spoken else "", "body": ""}
        code = {"code": refused.status} if self.kind == "sdnext" else {}  # read, not run
        return {**shape, **code, "errors": "" if spoken else refused.text}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A pending request; a pool of 40 threads serves all requests."""
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            with self._pool:
                yield
        finally:
            self._open -= 1


class _Queue:
    """First come, first served."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._next_ticket = 0
        self._serving = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._condition:
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            while ticket != self._serving:
                self._condition.wait()
        try:
            yield
        finally:
            with self._condition:
                self._serving += 1
                self._condition.notify_all()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeWebUI
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.fake.opened():
                status, answer = self._answered(method, raw)
            self._send(status, answer)
        except OSError:
            self.close_connection = True  # the fake server was killed, or the client disconnected

    def _answered(self, method: str, raw: bytes) -> tuple[int, Any]:
        try:
            body = _body(raw)
            return 200, self.fake.answer(method, urlsplit(self.path).path, body, self.headers.get("Authorization"))
        except _RefusedError as refused:
            return refused.status, self.fake.refusal(refused)

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 401 and self.fake.kind == "forge":  # A1111 sends no challenge
            self.send_header("WWW-Authenticate", "Basic")
        if self.close_connection:  # the client asked for it; the real servers say so too
            self.send_header("Connection", "close")
        if status >= 500 and self.fake.kind == "forge":
            self.close_connection = True  # without a word, as recorded
        self.end_headers()
        self.wfile.write(data)


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        raise _RefusedError(422, "schema", "body") from None


def _hash(name: str) -> str:
    return base64.b16encode(name.encode()).decode().lower().ljust(10, "0")[:10]


def _image(width: int, height: int, checkpoint: str, seed: int, prompt: str) -> bytes:
    """An image whose first pixels say what it was generated with."""
    text = json.dumps([checkpoint, seed, prompt[:200]]).encode()
    data = (len(text).to_bytes(2, "big") + text).ljust(width * height * 3, b"\x20")
    return _png(Image.frombytes("RGB", (width, height), data[: width * height * 3]))


def read_image(data: bytes) -> tuple[str, int, str]:
    """Checkpoint, seed and prompt that an image was generated with."""
    raw = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    length = int.from_bytes(raw[:2], "big")
    checkpoint, seed, prompt = json.loads(raw[2 : 2 + length])
    return checkpoint, seed, prompt


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _decode(text: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2], validate=True)))
    except (ValueError, OSError):
        raise _RefusedError(500, "HTTPException", "Invalid encoded image") from None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=7860)
    options.add_argument("--kind", choices=VERSIONS, default="a1111")
    options.add_argument("--step", type=float, default=0.02, help="seconds per sampling step")
    given = options.parse_args()
    fake = FakeWebUI(given.kind, step_seconds=given.step, load_seconds=1.0)
    with fake.run(given.port):
        print(f"a {fake.kind} without images of its own listens at {fake.url}", flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
