"""Long jobs between two calls of the host: all that is known travels in `plugin_state`, nothing stays in the process.

A call is held for up to HOLD seconds while the job is watched, so that a short job is found at once; the pauses
between the calls grow, so that two hours fit into the host's 240 checks.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from models.backends.base import Backend, Job, JobBackend, within_one_call
from models.backends.errors import ServerUnavailable
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult
from models.output.delivery import DeliveryOptions

HOLD = float(os.environ.get("IMAGE_GENERATION_HOLD_SECONDS", "25"))
"""Seconds; well below every timeout on the way from Dify. The environment can shorten it for a proxy that cuts earlier."""
_QUICK_CHECKS = 12
_SLOW_PAUSE = 6


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that goes on: what the host must bring back, and after how many whole seconds."""

    state: dict[str, JsonValue]
    next_check: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A result with what delivery needs; `duration` is seconds since the job was handed in."""

    result: ImageResult
    options: DeliveryOptions
    duration: float


class _State(BaseModel):
    """`plugin_state`: no secret, no image. Epoch seconds; whole floats may come back as ints."""

    job: dict[str, JsonValue]
    started: float
    deadline: float
    checks: int = 0
    delivery: dict[str, JsonValue]


def start(backend: Backend, request: ImageRequest, options: DeliveryOptions) -> Waiting | Finished:
    """Hand a request in and watch it for a while. Raises ImageError."""
    started = backend.clock.now()
    if not isinstance(backend, JobBackend):
        result = backend.invoke(within_one_call(request))
        return Finished(result, options, backend.clock.now() - started)
    outcome = backend.submit(request)
    if isinstance(outcome, ImageResult):
        return Finished(outcome, options, backend.clock.now() - started)
    state = _State(job=outcome, started=started, deadline=started + request.timeout, delivery=options.to_state())
    return _watch(backend, state)


def check(backend: Backend, plugin_state: Mapping[str, JsonValue]) -> Waiting | Finished:
    """Go on with a job that any process handed in. Transient trouble keeps it waiting. Raises ImageError."""
    if not isinstance(backend, JobBackend):
        raise ServerUnavailable(
            f"{backend.model.name} has no jobs to check",
            next_step="The model's settings changed while it ran; run it again",
        )
    try:
        state = _State.model_validate(plugin_state)
    except ValidationError:
        raise ServerUnavailable(
            f"The state of {backend.model.name}'s job cannot be read",
            next_step="The plugin was replaced by another version while it ran; run it again",
        ) from None
    return _watch(backend, state)


def _watch(backend: JobBackend, state: _State) -> Waiting | Finished:
    deadline = Deadline(backend.clock, state.deadline)
    job: Job = dict(state.job)  # a backend may write into it, when it had to hand the job in again
    seen = backend.watch(job, deadline.earlier(HOLD), started=state.started)
    if isinstance(seen, ImageResult):
        return Finished(seen, DeliveryOptions.from_state(state.delivery), backend.clock.now() - state.started)
    if deadline.passed:
        raise backend.give_up(job, seen)
    later = state.model_copy(update={"job": job, "checks": state.checks + 1})
    return Waiting(later.model_dump(mode="json"), 1 if later.checks < _QUICK_CHECKS else _SLOW_PAUSE)
