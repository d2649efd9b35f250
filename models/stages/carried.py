"""What travels with a request from its first stage to its last, also over the processes of a polled job."""

from dataclasses import dataclass, field

from pydantic import JsonValue

from models.entities import Price
from models.output.structured import OutputOptions
from models.stages.audit import Receipt


@dataclass(frozen=True, slots=True)
class Following:
    """Another request makes the image: a polled one waits in its job's state, where the cache left it.

    `timeout` is that of the waiting request, in seconds.
    """

    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Plain JSON in a job's state, without secrets and images.

    `price_per_image` and `has_negative_prompt` are facts of the asked model that stages need. `polled`: the call is
    answered within a second, so that a stage waits in the job's state.
    `notes` is where a stage before the service leaves what its other half needs, under the stage's name.
    """

    receipt: Receipt
    options: OutputOptions = field(default_factory=OutputOptions)
    price_per_image: Price | None = None
    polled: bool = False
    has_negative_prompt: bool = False
    notes: dict[str, JsonValue] = field(default_factory=dict)
