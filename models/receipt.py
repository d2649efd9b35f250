"""What is written down of one request: the audit record of the contract, without the form in which it is kept."""

import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from models.backends.errors import BadRequest, ImageError, RateLimited
from models.entities import ImageRequest, ImageResult, Price

type Outcome = Literal["succeeded", "failed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request. `time` is the epoch second of its start, `seconds` its duration; unknown facts are None.

    `prompt` is the text; an observer decides what of it may be kept. Seeds are text: JSON numbers lose digits.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float
    user: str
    model: str
    backend: str
    answered_by: str | None = None
    prompt: str = ""
    seed: str | None = None
    width: int | None = None
    height: int | None = None
    n: int = 0
    price: str | None = None
    currency: str | None = None
    seconds: float | None = None
    outcome: Outcome | None = None
    error_class: str | None = None
    cached: bool = False

    @classmethod
    def opened(cls, model: str, backend: str, user: str, time: float) -> "Receipt":
        return cls(time=time, user=user, model=model, backend=backend)

    def of(self, request: ImageRequest) -> "Receipt":
        """What the settled request says."""
        seed = None if request.seed is None else str(request.seed)
        return replace(self, prompt=request.prompt, seed=seed, width=request.width, height=request.height, n=request.n)

    def succeeded(self, result: ImageResult, price: Price | None, seconds: float) -> "Receipt":
        """What the result says: the first image stands for its seed and size."""
        first = result.images[0]
        return replace(
            self,
            answered_by=result.model,
            seed=self.seed if first.seed is None else str(first.seed),
            width=first.size[0],
            height=first.size[1],
            n=len(result.images),
            price=str(price.amount) if price else None,
            currency=price.currency if price else None,
            seconds=round(seconds, 3),
            outcome="succeeded",
        )

    def failed(self, error: Exception, now: float, *, handed_over: bool) -> "Receipt":
        """`refused`: the request itself was at fault, or over a limit, before the backend got it. It cost nothing.

        What a service refuses (a content filter, a 4xx) is `failed`, like trouble with a server on the way.
        """
        kind = error.host.__name__ if isinstance(error, ImageError) else type(error).__name__
        at_fault = isinstance(error, (BadRequest, RateLimited)) and not handed_over
        outcome: Outcome = "refused" if at_fault else "failed"
        return replace(self, outcome=outcome, error_class=kind, seconds=round(now - self.time, 3))

    def to_state(self) -> dict[str, JsonValue]:
        """Plain JSON, for another process to go on with."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, JsonValue]) -> "Receipt":
        """The inverse of `to_state`. Raises pydantic's ValidationError."""
        return _RECEIPT.validate_python(state)


_RECEIPT = TypeAdapter(Receipt)
