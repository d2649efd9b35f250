"""How soon the end of a job is found, and with how many requests. All on a simulated clock: it takes a few seconds.

`uv run python -m benchmarks.cadence`

Direct: one call waits for the job. Polling: the host starts it and checks it, with graphon's own limits for pauses,
checks and time. A job's length counts from its submission to the moment at which the service has its image.
"""

import dify_plugin  # isort: skip  # noqa: F401 -- it patches the sockets that everything else uses

import argparse
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args
from unittest.mock import patch

from graphon.model_runtime.entities.llm_entities import LLMPollingConfig

from models.backends import cache
from models.backends.comfyui import backend as comfyui_backend
from models.backends.errors import ImageError
from models.pipeline import Asked, Call, Waiting
from models.request.conversation import Conversation
from tests.contract_cases import CASES
from tests.servers.simulated import (
    ORIGIN,
    SimulatedClock,
    SimulatedComfyUI,
    SimulatedModelStudio,
    SimulatedService,
    SimulatedWebUI,
    Sockets,
    simulated,
)

type Way = Literal["direct", "polling"]
LENGTHS = (2.0, 10.0, 60.0, 585.0)
POLLED_LENGTHS = (*LENGTHS, 6000.0)
HOST = LLMPollingConfig()
"""The limits of Dify's workflow engine."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """`before`: how many jobs of the same length the process has waited for before. `polled`: whether it has jobs."""

    name: str
    model: str
    credentials: Mapping[str, str]
    make: Callable[..., SimulatedService]
    before: int = 0
    polled: bool = True
    ways: Sequence[Way] = get_args(Way.__value__)


def services() -> Iterator[Service]:
    comfyui = partial(Service, model=CASES["comfyui"].model, credentials=_form("comfyui"))
    studio = partial(
        Service, model=CASES["qwen_image"].model, credentials=_form("qwen_image"), make=SimulatedModelStudio
    )
    for sockets in get_args(Sockets.__value__):
        name = "ComfyUI" if sockets == "open" else f"ComfyUI, WebSocket {sockets}"
        ways: Sequence[Way] = ("direct", "polling") if sockets == "open" else ("direct",)
        yield comfyui(name=name, make=partial(SimulatedComfyUI, sockets=sockets), ways=ways)
    yield studio(name="Qwen-Image, first job of a model")
    yield studio(name="Qwen-Image, later jobs", before=3, ways=("direct",))
    form = _form("automatic1111")
    yield Service(
        name="AUTOMATIC1111",
        model=CASES["automatic1111"].model,
        credentials=form,
        make=SimulatedWebUI,
        ways=("direct",),
    )


def _form(backend: str) -> Mapping[str, str]:
    form = CASES[backend].credentials
    assert form  # noqa: S101 -- each of them is a service
    return form(ORIGIN)


@dataclass(frozen=True)
class Found:
    """`late`: seconds from the job's end to the result; `held`: of the longest check that left the job running; `outcome`:
    "image", or the error's class and sentence after `seconds` in all."""

    outcome: str
    late: float = 0.0
    seconds: float = 0.0
    requests: int = 0
    checks: int = 0
    pause: float = 0.0
    held: float = 0.0

    @property
    def in_time(self) -> bool:
        """Contract, section 9: three seconds after the pause; at most the host's checks, each about a second long."""
        return self.late <= self.pause + 3 and self.checks <= HOST.max_attempts and self.held <= 1.5  # noqa: PLR2004


def found(
    service: Service, seconds: float, way: Way, *, before: int | None = None, silent_from: float = math.inf
) -> Found:
    """One job of that length, after those that the process has seen before. `silent_from`: when the service stops answering."""
    clock = SimulatedClock()
    cache.clear_all()
    for _ in range(service.before if before is None else before):
        _measured(clock, service, service.make(clock, seconds), "direct")
    return _measured(clock, service, service.make(clock, seconds, silent_from), way)


def _measured(clock: SimulatedClock, service: Service, fake: SimulatedService, way: Way) -> Found:
    longest = 590 if way == "direct" else max(60, int(1.15 * fake.seconds))
    question = Asked(Conversation("a red fox in the snow"), {"timeout": longest})

    def call() -> Call:
        return Call.of(service.model, service.credentials, None, clock)

    def work() -> Found:
        try:
            if way == "polling":
                return _polled(clock, call, question)
            call().generate(question)
            return Found("image")
        except ImageError as error:
            return Found(f"{error.host.__name__}: {error}")

    began = clock.now()
    with ExitStack() as stack:
        requests = stack.enter_context(simulated(clock, fake))
        if isinstance(fake, SimulatedComfyUI):
            stack.enter_context(patch.object(comfyui_backend, "open_socket", fake.open_socket))
        one = clock.run(work)
    late = clock.now() - (fake.began or 0.0) - fake.seconds
    return replace(one, late=late, seconds=clock.now() - began, requests=len(requests))


def _polled(clock: SimulatedClock, call: Callable[[], Call], question: Asked) -> Found:
    checks, pause, held, outcome = 0, 0.0, 0.0, "image"
    began = clock.now()
    state = call().start(question)
    while isinstance(state, Waiting):
        pause = float(min(HOST.max_check_interval_seconds, max(HOST.min_check_interval_seconds, state.next_check)))
        clock.sleep(pause)
        assert clock.now() - began <= HOST.max_wait_seconds, "the host has thrown the job away"  # noqa: S101
        checks, since = checks + 1, clock.now()
        try:
            state = call().check(json.loads(json.dumps(state.state)))
        except ImageError as error:
            outcome = f"{error.host.__name__}: {error}"
            break
        held = max(held, clock.now() - since) if isinstance(state, Waiting) else held
    return Found(outcome, checks=checks, pause=pause, held=held)


def rows() -> Iterator[tuple[Service, Way, Mapping[float, Found]]]:
    for service in services():
        for way in service.ways:
            lengths = LENGTHS if way == "direct" else POLLED_LENGTHS
            yield service, way, {seconds: found(service, seconds, way) for seconds in lengths}


def in_direct_time(seconds: float, one: Found) -> bool:
    """Half a second up to a minute, two seconds for the longest job."""
    return one.late <= (2.0 if seconds == LENGTHS[-1] else 0.5)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    logging.disable(logging.INFO)  # the receipts of the requests
    print(f"| service | way | {' | '.join(f'{seconds:g} s' for seconds in POLLED_LENGTHS)} |")
    print("|---" * (len(POLLED_LENGTHS) + 2) + "|")
    for service, way, row in rows():
        cells = [_words(row[seconds]) if seconds in row else "" for seconds in POLLED_LENGTHS]
        print(f"| {service.name} | {way} | {' | '.join(cells)} |", flush=True)


def _words(one: Found) -> str:
    checks = f", {one.checks} checks, pause {one.pause:g} s, held {one.held:.1f} s" if one.checks else ""
    return f"{one.late:.2f} s, {one.requests} requests{checks}"


if __name__ == "__main__":
    main()
