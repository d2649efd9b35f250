"""What the service's error codes mean and what the user can do about them.

Source: Model Studio, error code page. Codes are matched, not texts where that can be helped; they come in two spellings (`InvalidApiKey`,
`invalid_api_key`) and with dotted details (`InvalidURL.Timeout`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
)
from models.backends.qwen_image.account import REGIONS, TOKEN_PLAN_URLS, Account
from models.backends.qwen_image.wire import StudioFailure
from models.backends.reply import Explanation, Reply, plain_explanation

# Failed requests are not billed, so "soon" is safe for every code that says that nothing was made.
type Retry = Literal["never", "soon", "at the next slot", "after a burst"]

_BURST_WAIT = 10.0  # seconds; a burst needs longer than one slot
_PER_MINUTE_WAIT = 15.0  # seconds; for models whose limit counts by the minute
_FAST = 60  # requests a minute from which on a slot is a matter of the caller's own short waits


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    error: type[ImageError]
    next_step: str
    retry: Retry = "never"


@dataclass(frozen=True, slots=True)
class RefusalContext:
    """Who asked for what: the words that an advice needs."""

    account: Account
    model: str
    regions: tuple[str, ...]
    requests_per_minute: int


def explain(asked: RefusalContext, reply: Reply) -> Explanation:
    """The reading of any refusal, whatever a gateway in between made of it."""
    failure = StudioFailure.read(reply.json())
    if failure.code or _NO_CREDIT_WORDS.search(failure.message):
        return explain_failure(asked, failure, reply.status)
    plain = plain_explanation(reply)
    match reply.status:
        case HTTPStatus.UNAUTHORIZED:
            return replace(plain, next_step=key_advice(asked.account))
        case HTTPStatus.NOT_FOUND:
            access = asked.account.access
            return replace(plain, next_step=f"Check {access.where('base_url')}: it must end in /api/v1")
        case _:
            return plain


def explain_failure(asked: RefusalContext, failure: StudioFailure, status: int) -> Explanation:
    """The reading of a code, from an answer's envelope or from inside a task."""
    refusal = _refusal(failure) or CodeMeaning(class_for_status(status), "")
    return Explanation(
        error=refusal.error,
        said=failure.words,
        next_step=_advice(refusal.next_step, asked),
        retry_after=_wait(refusal.retry, asked.requests_per_minute),
    )


def key_advice(account: Account) -> str:
    """What to do about a key that was not accepted."""
    access = account.access
    key, region, base = (access.words(name) for name in ("api_key", "region", "base_url"))
    if account.token_plan_key and not account.host.startswith("token-plan."):
        return (
            f"A key that starts with sk-sp- belongs to a Token Plan or Coding Plan, which has its own address: "
            f"write {' or '.join(TOKEN_PLAN_URLS)} in {base} (a Coding Plan makes no images)"
        )
    if access.base_url:
        return (
            f"Key, address and model must belong to the same region: this key was refused by {account.place}; "
            f"check {key} and {base} {access.place}"
        )
    others = [r for name, r in REGIONS.items() if name != account.region]
    return (
        f"Keys belong to a region and this one was refused by {account.place}: if it was made in "
        f"{' or '.join(r.title for r in others)}, choose that in {region}; otherwise check {key} {access.place}"
    )


def model_advice(asked: RefusalContext) -> str:
    """What to do about a model that the service does not know."""
    where = " and ".join(REGIONS[name].title for name in asked.regions)
    return (
        f"Check the model's name ({asked.model}); models like it are offered in {where}, and this account asks "
        f"{asked.account.place}"
    )


def answered_in_words(text: str) -> BadRequest:
    """The refusal of a model that answered with text in place of an image."""
    return BadRequest(
        "The model answered without an image",
        text,
        "Change what it objects to in the prompt or the input images, and say plainly what the image shows",
    )


def _advice(template: str, asked: RefusalContext) -> str:
    return template.format(
        key=key_advice(asked.account),
        model=model_advice(asked),
        place=asked.account.place,
        api_key=asked.account.access.words("api_key"),
    )


def _wait(retry: Retry, requests_per_minute: int) -> float | None:
    match retry:
        case "never":
            return None
        case "soon":
            return 0.0
        case "after a burst":
            return max(_BURST_WAIT, _slot(requests_per_minute))
        case "at the next slot":
            return _slot(requests_per_minute)


def _slot(requests_per_minute: int) -> float:
    if requests_per_minute >= _FAST:
        return 0.0
    return max(_PER_MINUTE_WAIT, 60 / requests_per_minute)


def _refusal(failure: StudioFailure) -> CodeMeaning | None:
    code = _normal(failure.code)
    if code == "accessdenied" and re.search(r"a?synchronous", failure.message):
        return _WRONG_CALL
    known = _by_code(code)
    # Gateways replace the code and pass the words on.
    if (known is None or code == "accessdenied") and _NO_CREDIT_WORDS.search(failure.words):
        return _NO_CREDIT
    return known


def _by_code(code: str) -> CodeMeaning | None:
    """The meaning of a code, or of the general one before its dots."""
    while code:
        if code in _TABLE:
            return _TABLE[code]
        code = code.rpartition(".")[0]
    return None


def _normal(code: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", code.lower())


def _table(rows: Iterable[tuple[CodeMeaning, str]]) -> Mapping[str, CodeMeaning]:
    return {_normal(code): refusal for refusal, codes in rows for code in codes.split(", ")}


_CONSOLE = "in the Model Studio console of {place}"
_WRONG_CALL = CodeMeaning(
    BadRequest,
    "This model does not take calls of this kind: check the model's name, or use one of the plugin's own models",
)
_NO_CREDIT = CodeMeaning(RateLimited, f"The account owes money or has no balance: top it up {_CONSOLE}")
_NO_CREDIT_WORDS = re.compile(
    r"(?i)good standing|overdue|arrear|insufficient balance|balance is insufficient|no credit"
)
_TABLE: Mapping[str, CodeMeaning] = _table(
    (
        (
            CodeMeaning(
                BadRequest,
                "Check the size, the number of images, the prompt and the input images against what the model "
                "takes; a model that is unknown is sometimes answered like this too",
            ),
            "InvalidParameter, BadRequest, InvalidRequest",
        ),
        (
            CodeMeaning(
                BadRequest,
                "Use another image: JPEG, PNG, WebP, BMP, TIFF or GIF, up to 10 MB, sides from 384 to 3072 pixels",
            ),
            "BadRequest.InputDownloadFailed, BadRequest.UnsupportedFileFormat, BadRequest.TooLarge, InvalidURL, "
            "InvalidImage, InvalidImageResolution, InvalidImageFormat, InvalidFile, InvalidParameter.DataInspection",
        ),
        (
            CodeMeaning(
                BadRequest,
                "The service's content filter stopped it, for the prompt, an input image or the image that came "
                "out; change the words or the image. It was not billed, and repeating it unchanged does not help",
            ),
            "DataInspectionFailed, IPInfringementSuspect, FaqRuleBlocked, CustomRoleBlocked",
        ),
        (
            _NO_CREDIT,
            "Arrearage, CommodityNotPurchased, PrepaidBillOverdue, PostpaidBillOverdue",
        ),
        (
            CodeMeaning(
                BadRequest, "A task can only be cancelled while it waits; a running one is finished and billed"
            ),
            "UnsupportedOperation",
        ),
        (CodeMeaning(AuthorizationFailed, "{key}"), "InvalidApiKey, IncorrectApiKey"),
        (
            CodeMeaning(
                AuthorizationFailed,
                "The key belongs to another workspace than the address: use a key of the workspace, or the region's "
                "shared address",
            ),
            "NOT AUTHORIZED, WorkSpaceNotFound",
        ),
        (
            CodeMeaning(
                AuthorizationFailed,
                "The account may not use this model: grant it to the workspace of {api_key} " + _CONSOLE,
            ),
            "AccessDenied, Model.AccessDenied, Workspace.AccessDenied, App.AccessDenied",
        ),
        (
            CodeMeaning(AuthorizationFailed, f"Activate Model Studio for the account {_CONSOLE}"),
            "AccessDenied.Unpurchased",
        ),
        (
            CodeMeaning(
                RateLimited,
                f"The free quota is used up: switch off “free tier only” for the model {_CONSOLE}, or choose another",
            ),
            "AllocationQuota.FreeTierOnly",
        ),
        (CodeMeaning(BadRequest, "{model}"), "ModelNotFound, ModelNotSupported"),
        (CodeMeaning(BadRequest, "Check the base URL: it must end in /api/v1"), "NotFound"),
        (
            CodeMeaning(
                RateLimited,
                "The account's limit of requests is reached: wait a minute, or choose a model with a higher limit",
                "at the next slot",
            ),
            "Throttling, Throttling.RateQuota, LimitRequests",
        ),
        (
            CodeMeaning(
                RateLimited, "Too many requests at once: wait a minute and start them more slowly", "after a burst"
            ),
            "Throttling.BurstRate, LimitBurstRate",
        ),
        (
            CodeMeaning(RateLimited, f"The account's quota is used up: raise it {_CONSOLE}, or choose another model"),
            "Throttling.AllocationQuota, InsufficientQuota",
        ),
        (
            CodeMeaning(
                ServerUnavailable, "The service failed by itself and billed nothing: try again in a moment", "soon"
            ),
            "InternalError, SystemError, ModelServiceFailed, ModelServingError, ModelUnavailable",
        ),
        (
            CodeMeaning(
                ServerUnavailable,
                "The service gave up after its own time limit: try again, with fewer or smaller images",
            ),
            "RequestTimeOut, InternalError.Timeout",
        ),
    )
)
