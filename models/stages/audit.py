"""What is written down of one request, and the audit line: one per request in the plugin's log, whatever became of it.

`image_request ` is followed by one JSON object with the fields of a Receipt. The prompt stands there as text, as its
SHA-256 or not at all, as the owner's `limits` entry `audit text|hash|none` says.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from models.backends.errors import BadRequest, ImageError, RateLimited, logger, redact
from models.entities import ImageRequest, ImageResult
from models.limits import Audit

_PREFIX = "image_request "
_LONGEST_PROMPT = 20_000  # characters; a log line is read by people


type Outcome = Literal["succeeded", "failed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request. `time` is the epoch second of its start, `seconds` its duration; unknown facts are None.

    `prompt` is the text; an observer decides what of it may be kept. Seeds are text: JSON numbers lose digits.
    `image_urls` are where delivered images are kept, else where the service published them; whoever has one sees the image.
    `version` names the workflow that serves the request, where a model has two: `main` or `canary`.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float
    user: str
    model: str
    backend: str
    answered_by: str | None = None
    version: str | None = None
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
    image_urls: tuple[str, ...] = ()

    def of(self, request: ImageRequest) -> "Receipt":
        seed = None if request.seed is None else str(request.seed)
        return replace(self, prompt=request.prompt, seed=seed, width=request.width, height=request.height, n=request.n)

    def made(self, result: ImageResult) -> "Receipt":
        """With what a service made."""
        first, price = result.images[0], result.price
        return replace(
            self,
            answered_by=result.model,
            seed=self.seed if first.seed is None else str(first.seed),
            width=first.size[0],
            height=first.size[1],
            n=len(result.images),
            price=str(price.amount) if price else None,
            currency=price.currency if price else None,
            cached=result.cached,
        )

    def succeeded(self, result: ImageResult, seconds: float) -> "Receipt":
        kept = ((image.kept.url if image.kept else "") or image.url for image in result.images)
        return replace(
            self.made(result), seconds=round(seconds, 3), outcome="succeeded", image_urls=tuple(filter(None, kept))
        )

    def failed(self, error: Exception, now: float, *, handed_over: bool) -> "Receipt":
        """`refused`: the request itself was at fault, or over a limit, before the backend got it. It cost nothing.

        What a service refuses (a content filter, a 4xx) is `failed`, like trouble with a server on the way. With
        `answered_by`, images were made and charged for nonetheless.
        """
        kind = error.host.__name__ if isinstance(error, ImageError) else type(error).__name__
        at_fault = isinstance(error, (BadRequest, RateLimited)) and not handed_over
        outcome: Outcome = "refused" if at_fault else "failed"
        receipt = self.made(error.made) if isinstance(error, ImageError) and error.made else self
        return replace(receipt, outcome=outcome, error_class=kind, seconds=round(now - self.time, 3))


def record(receipt: Receipt, audit: Audit, secrets: Sequence[str]) -> dict[str, object]:
    """What may be written down of a receipt. `secrets` are hidden wherever they turn up: a user may paste a key."""
    facts = {name: value for name, value in asdict(receipt).items() if name not in {"prompt", "image_urls"}}
    fields = {name: redact(value, secrets) if isinstance(value, str) else value for name, value in facts.items()}
    if receipt.version is None:
        del fields["version"]  # most models have one
    if prompt := _prompt(receipt.prompt, audit, secrets):
        fields["prompt"] = prompt
    return fields


def _prompt(prompt: str, audit: Audit, secrets: Sequence[str]) -> str:
    if not prompt or audit == "none":
        return ""
    if audit == "text":
        return redact(prompt[:_LONGEST_PROMPT], secrets)
    return f"sha256:{hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()}"


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The observer that writes the line. `secrets` never stand in it."""

    audit: Audit
    secrets: tuple[str, ...]

    def __call__(self, receipt: Receipt) -> None:
        try:
            fields = record(receipt, self.audit, self.secrets)
            logger.info("%s", _PREFIX + json.dumps(fields, ensure_ascii=False))
        except Exception:  # noqa: BLE001 -- a request never fails because of its log line
            logger.warning("the audit line of request %s could not be written", receipt.id)
