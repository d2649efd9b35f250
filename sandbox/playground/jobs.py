"""Calls of the page: several models and prompts beside each other, each with its progress, receipt or error."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from sandbox import protocol
from sandbox.call_report import json_object, seeds_in
from sandbox.errors import HostError
from sandbox.host import Host, InvokeReply, PollingReply, Values
from sandbox.output_folder import OutputFolder
from sandbox.parameters import Schema
from sandbox.playground.form import parameters
from sandbox.protocol import JsonObject

log = logging.getLogger(__name__)

MOST_CALLS = 24
_AT_ONCE = 4


@dataclass(frozen=True)
class InputImage:
    """An image of the request; a mask has `mask` in its name."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The facts of one image. `price` is of the whole call; empty if the service reports none."""

    model: str
    seed: str
    size: str
    price: str
    seconds: float


@dataclass
class Job:
    """One call. It is changed by its own thread only; the page reads it."""

    schema: Schema
    prompt: str
    values: dict[str, JsonValue]
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    checks: int = 0
    started: float = 0.0
    ended: float = 0.0
    paths: list[Path] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    notices: tuple[str, ...] = ()
    error: str = ""
    text: str = ""
    exchange: JsonObject = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    @property
    def open(self) -> bool:
        return self.state in {"waiting", "running"}


def plan(schemas: Sequence[Schema], prompts: Sequence[str], values: dict[str, JsonValue]) -> list[Job]:
    """One job per prompt and model, the models of one prompt beside each other."""
    return [Job(schema, prompt, parameters(schema, values)) for prompt in prompts for schema in schemas]


@dataclass(frozen=True)
class Runner:
    """Runs jobs on the plugin process. `on_done` is told of each job that made an image."""

    host: Host
    folder: Path
    credentials_of: Callable[[str], Values]
    on_done: Callable[[Job], None] = lambda _: None

    def start(self, jobs: Sequence[Job], images: Sequence[InputImage]) -> None:
        """Start all jobs without waiting for them."""
        parts = [protocol.image_part(image.data, filename=image.name) for image in images]
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="playground")
        for job in jobs:
            pool.submit(self._run, job, parts)
        threading.Thread(target=pool.shutdown, daemon=True).start()

    def _run(self, job: Job, parts: Sequence[JsonObject]) -> None:
        job.started, job.state = time.monotonic(), "running"
        try:
            reply = self._call(job, parts)
            job.paths = OutputFolder(self.folder, _stem(job)).save(reply.images)
            self._settle(job, reply)
            self.on_done(job)
            job.state = "done"
        except (HostError, OSError) as error:
            job.error, job.state = str(error), "failed"
        except Exception as error:  # whatever happens, the page must show that the job ended
            log.exception("a job of the playground failed")
            job.error, job.state = repr(error), "failed"
        finally:
            job.ended = time.monotonic()

    def _call(self, job: Job, parts: Sequence[JsonObject]) -> InvokeReply | PollingReply:
        model, messages = job.schema.model, [protocol.user(*parts, job.prompt)]
        credentials = self.credentials_of(model)
        job.exchange = {"request": {"model": model, "model_parameters": job.values, "prompt_messages": [*messages]}}
        if "polling" not in (job.schema.features or ()):
            reply = self.host.invoke(model, credentials, messages, job.values)
            job.exchange["reply"] = [chunk.model_dump(mode="json") for chunk in reply.chunks]
            return reply
        polled = self.host.run_polling(
            model, credentials, messages, job.values, on_check=lambda check: _count(job, check)
        )
        if polled.status == "failed":
            raise HostError(polled.error or "the job failed without a reason")
        return polled

    def _settle(self, job: Job, reply: InvokeReply | PollingReply) -> None:
        details = next((found for found in map(json_object, reply.text.splitlines()) if found), {})
        job.text = "" if details else reply.text.strip()
        job.notices = tuple(str(notice) for notice in details.get("notices", ()))
        price = ""
        if reply.usage is not None and reply.usage.total_price:
            price = priced(reply.usage.total_price, reply.usage.currency)
        job.receipts = receipts(job.schema.model, details, seeds_in(reply.text), price, job.seconds, len(job.paths))


def _stem(job: Job) -> str:
    """A name of the job's own: two jobs of one model may end in the same second."""
    return f"{job.schema.model.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


def _count(job: Job, check: PollingReply) -> None:
    job.checks += check.status == "running"
    job.exchange["reply"] = check.raw


def priced(amount: Decimal, currency: str) -> str:
    return f"{amount.normalize():f} {currency}"


def receipts(
    model: str, details: dict[str, Any], seeds: Sequence[str], price: str, seconds: float, count: int
) -> list[Receipt]:
    """One receipt per image, from the JSON of `details`; what it lacks stays empty."""
    images = [*details.get("images", ())] or [details] * count
    answered = details.get("answered_by") or details.get("model") or model
    return [
        Receipt(
            model=str(answered) if answered == model else f"{model} → {answered}",
            seed=seeds[number] if number < len(seeds) else "",
            size=f"{image['width']}x{image['height']}" if "width" in image and "height" in image else "",
            price=price,
            seconds=round(seconds, 2),
        )
        for number, image in enumerate(images[:count])
    ]
