"""What a refusal means: the error shapes of these servers as one table, first match wins.

OpenAI, vLLM-Omni and LocalAI send `{"error": {"message", "type", "param", "code"}}`, vLLM's key check and
stable-diffusion.cpp `{"error": "text"}`, SGLang and Xinference `{"detail": …}`, SiliconFlow `{"code", "message"}` or a
bare string; proxies and crashed servers send text, HTML or nothing. Gateways rewrite `type`, `code` survives best.
"""

import re
from dataclasses import dataclass, replace

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
)
from models.backends.reply import Explanation, Reply, said_by
from models.settings import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One meaning. Every condition that is given must hold; `{…}` in the next step are filled from the form."""

    error: type[ImageError]
    next_step: str
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    words: str = ""
    params: str = ""
    retry: bool = False
    retry_with_header: bool = False

    def fits(self, status: int, fault: "Fault", said: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        if self.params and not re.search(self.params, fault.param or said, re.IGNORECASE):
            return False
        by_code = bool(self.codes & {fault.code, fault.kind})
        by_words = bool(self.words) and re.search(self.words, said, re.IGNORECASE) is not None
        return by_code or by_words or not (self.codes or self.words)


@dataclass(frozen=True, slots=True)
class Fault:
    """The machine-readable part of a refusal, as far as it is there."""

    code: str = ""
    kind: str = ""
    param: str = ""


def fault_of(reply: Reply) -> Fault:
    """Read `code`, `type` and `param` out of the error object or the body itself."""
    match reply.json():
        case {"error": dict(fault)} | {"detail": dict(fault)} | dict(fault):
            code, kind, param = (fault.get(name) for name in ("code", "type", "param"))
            return Fault(*("" if value is None else str(value) for value in (code, kind, param)))
        case _:
            return Fault()


MISSING_SCOPES = "missing scopes"  # OpenAI's words for a restricted key
_4XX = frozenset(range(400, 500))
_MODEL_WORDS = (
    r"model mismatch|model [^.]*(does not exist|not found|no access)|unknown model|no such model|invalid model|"
    r"could not (find|load) .*model"
)

TABLE: tuple[Row, ...] = (
    Row(
        error=BadRequest,
        codes=frozenset({"moderation_blocked", "content_policy_violation"}),
        words=r"safety system|content[ _]policy|safety_violations",
        statuses=_4XX,
        next_step="The content filter refused the prompt or the input image: change it; OpenAI's models filter "
        "less with `moderation` set to low",
    ),
    Row(
        error=RateLimited,
        codes=frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}),
        words=r"insufficient[ _](quota|balance|credit)|balance is insufficient|余额不足",
        statuses=frozenset({400, 402, 403, 429}),
        next_step="The account has no credit left: add some or raise its limit at the service; waiting does not help",
    ),
    Row(
        error=AuthorizationFailed,
        statuses=frozenset({403}),
        words=r"verif",
        next_step="Verify the organisation in OpenAI's settings (it can take 15 minutes to count), or use another model",
    ),
    Row(
        error=AuthorizationFailed,
        statuses=frozenset({401, 403}),
        words=MISSING_SCOPES,
        next_step="Give the restricted key the permission that is named, or fill an unrestricted one into `{api_key}` "
        "{place}",
    ),
    Row(
        error=AuthorizationFailed,
        codes=frozenset({"invalid_api_key"}),
        next_step="Check `{api_key}` {place}; keys belong to one service and one account",
    ),
    Row(error=AuthorizationFailed, statuses=frozenset({401, 403, 407}), next_step="{login}"),
    Row(
        error=BadRequest,
        codes=frozenset({"model_not_found"}),
        words=_MODEL_WORDS,
        statuses=frozenset({400, 404, 422, 500}),
        next_step="Write a model that this server has into `{remote_model}` {place}{models}",
    ),
    Row(
        error=BadRequest,
        statuses=frozenset({404, 405}),
        next_step="Check `{base_url}` {place} (the part before /v1) and that this server offers the images API; some "
        "servers paint and do not edit",
    ),
    Row(error=BadRequest, statuses=frozenset({413}), next_step="Send smaller or fewer input images"),
    Row(
        error=RateLimited,
        statuses=frozenset({429}),
        next_step="Wait a moment and try again, or raise the account's limits",
        retry=True,
    ),
    Row(
        error=BadRequest,
        params=r"\bsize\b|image_size|max-generated-image-size|pixels",
        statuses=frozenset({400, 422}),
        next_step="Change `width` and `height`, or leave them out for the model's own size",
    ),
    Row(
        error=BadRequest,
        words=r"image.*(is|are) required|image or url|at least one image|missing image file|received .*input images",
        statuses=_4XX,
        next_step="Send as many input images as the model takes: switch on the node's vision setting, choose an image",
    ),
    Row(
        error=BadRequest,
        params=r"num_inference_steps",
        statuses=frozenset({400, 422}),
        next_step="Change `steps`",
    ),
    Row(
        error=BadRequest,
        params=r"guidance_scale|true_cfg_scale|\bcfg\b",
        statuses=frozenset({400, 422}),
        next_step="Change `cfg_scale`",
    ),
    Row(
        error=BadRequest,
        codes=frozenset({"unknown_parameter"}),
        words=r"unknown parameter|unrecognized (request )?argument|extra (inputs|fields)",
        statuses=frozenset({400, 422}),
        next_step="The server does not know this parameter: check `{dialect}` {place}",
    ),
    Row(
        error=ServerUnavailable,
        words=r"out of memory|\boom\b|cuda error|failed to allocate",
        next_step="The GPU has too little memory for this: ask for a smaller size, fewer images or fewer steps",
    ),
    Row(
        error=ServerUnavailable,
        statuses=frozenset({503}),
        words=r"diffusion stage|diffusion|engine",
        next_step="Start the server with an image model (vLLM: `vllm serve <model> --omni`) and wait until it is loaded",
    ),
    Row(
        error=ServerUnavailable,
        statuses=frozenset({503}),
        next_step="The server is starting, loading a model or overloaded: try again in a moment",
        retry_with_header=True,
    ),
    Row(
        error=ServerUnavailable,
        statuses=frozenset({502, 504, 524}),
        next_step="A proxy in front of the server gave up: raise its read timeout (images take minutes), or ask for "
        "less",
    ),
    Row(error=ConnectionFailed, statuses=frozenset({408}), next_step="Try again; the server did not wait long enough"),
    Row(
        error=ServerUnavailable,
        statuses=frozenset({409}),
        words=r"cancel",
        next_step="The job was cancelled at the server: try again",
    ),
    Row(error=BadRequest, statuses=_4XX, next_step="Change what the server names and try again"),
    Row(
        error=ServerUnavailable,
        statuses=frozenset(range(500, 600)),
        next_step="Try again; if it stays, look at the server's own log",
    ),
)


@dataclass(frozen=True, slots=True)
class Refusals:
    """The reading of one account's refusals; `models` names what the server is known to serve."""

    access: Access
    models: str = ""

    def explain(self, reply: Reply) -> Explanation:
        said, fault = said_by(reply), fault_of(reply)
        for row in TABLE:
            if row.fits(reply.status, fault, said):
                again = row.retry or (row.retry_with_header and reply.retry_after is not None)
                return Explanation(
                    error=row.error,
                    said=said,
                    next_step=self._filled(row.next_step),
                    retry_after=0.0 if again else None,
                )
        return Explanation(
            error=class_for_status(reply.status), said=said, next_step=self._filled("Check `{base_url}` {place}")
        )

    def explain_success(self, reply: Reply) -> Explanation:
        """The reading of an error that a gateway sent with a 2xx status."""
        return self.explain(replace(reply, status=400 if fault_of(reply).code not in _SERVER_CODES else 500))

    def _filled(self, next_step: str) -> str:
        names = {
            name: self.access.field(name) for name in ("api_key", "remote_model", "base_url", "dialect", "username")
        }
        listed = f"; it has {self.models}" if self.models else ""
        login = _LOGIN if self.access.api_key else (_PASSWORD if self.access.username else _NO_LOGIN)
        return next_step.replace("{login}", login).format(place=self.access.place, models=listed, **names)


_LOGIN = "Check `{api_key}` {place}; keys belong to one service and one account"
_PASSWORD = "Check `{username}` and the password {place}"  # noqa: S105 -- a sentence about one
_NO_LOGIN = "The server wants a key: fill `{api_key}` {place}"
_SERVER_CODES = frozenset({"server_error", "500", "503"})
