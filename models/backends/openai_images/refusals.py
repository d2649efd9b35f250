"""What a refusal means: the error shapes of these servers as one table, first match wins.

OpenAI, vLLM-Omni and LocalAI send `{"error": {"message", "type", "param", "code"}}`, vLLM's key check and
stable-diffusion.cpp `{"error": "text"}`, SGLang and Xinference `{"detail": …}`, SiliconFlow `{"code", "message"}` or a
bare string; proxies and crashed servers send text, HTML or nothing. Gateways rewrite `type` and the status (down to
200 for everything); `code` and the words survive best.
"""

import json
import re
from collections.abc import Iterable, Mapping
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
from models.backends.openai_images.tasks import has_failed
from models.backends.reply import Explanation, Reply, said_by, spelled
from models.settings import Access


@dataclass(frozen=True, slots=True)
class RefusalCodes:
    """The machine-readable part of a refusal, as far as it is there."""

    code: str = ""
    kind: str = ""
    param: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status that the code is, where it is one."""
        return int(self.code) if re.fullmatch(r"[45]\d\d", self.code) else None


def codes_of(body: object) -> RefusalCodes:
    """`code`, `type` and `param` of the error object or of the body itself."""
    match body:
        case [first, *_]:  # Google sends a list around the object
            return codes_of(first)
        case {"error": dict(fault)} | {"detail": dict(fault)} | dict(fault):
            code, kind, param = (fault.get(name) for name in ("code", "type", "param"))
            return RefusalCodes(*("" if value is None else str(value) for value in (code, kind, param)))
        case _:
            return RefusalCodes()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """One meaning. `statuses` and `params` must hold where they are given, and one of `codes` and `words`; `words` are
    looked for in the codes too. `{…}` in the next step are filled from the form."""

    error: type[ImageError]
    next_step: str
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    words: str = ""
    params: str = ""
    retry: bool = False
    retry_with_header: bool = False

    def fits(self, status: int, codes: RefusalCodes, said: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        if self.params and not re.search(self.params, codes.param or said, re.IGNORECASE):
            return False
        by_code = bool(self.codes & {codes.code, codes.kind})
        text = f"{said} {codes.code} {codes.kind}"
        by_words = bool(self.words) and re.search(self.words, text, re.IGNORECASE) is not None
        return by_code or by_words or not (self.codes or self.words)


MISSING_SCOPES = "missing scopes"  # OpenAI's words for a restricted key
_4XX = frozenset(range(400, 500))
_MODEL_WORDS = (
    r"model mismatch|model [^.]*(does not exist|not found|no access)|unknown model|no such model|invalid model|"
    r"could not (find|load) .*model|模型不存在"
)
_CHANNEL_WORDS = r"no (available )?channels?\b|no (available )?(provider|distributor)s? .*model|无可用(渠道|分组)"
_FILTER_WORDS = (
    r"safety system|content[ _]?(policy|filter)|safety_violations|moderation_blocked|ResponsibleAI|sensitive[ _]?(content|word)|"
    r"data_?inspection|敏感|违规|审核"
)
_CREDIT = r"(quota|balance|credits?|funds)"
_QUOTA_WORDS = (
    rf"(insufficient|not enough|no|out of|run out of|exhausted your)[ _](\w+[ _])?{_CREDIT}\b(?! metric)|"
    rf"\b{_CREDIT} (is |are |has been |have been )?(insufficient|exhausted|used up|depleted|not enough|too low)|"
    r"exceeded your (current )?quota|hard limit has been reached|account.?overdue|arrear|quota_?not_?enough|token_quota|"
    r"(余额|额度|配额|点数|积分)(已|不足|不够|用尽|耗尽)|欠费|请充值"
)
_AUTH_WORDS = (
    r"not authenticated|unauthori[sz]ed|authentication|invalid[ _](api[ _]?)?(key|token)|无效的令牌|未授权|鉴权"
)
_RATE_WORDS = r"rate[ _]?limit|too many requests|throttl|过于频繁|请求频率|限流"
_SERVER_WORDS = r"internal|upstream|overload|unavailable|time[d]?[ _]?out|bad gateway|server[ _]error|busy|out of memory|繁忙|超时|系统错误|上游"

_NO_CREDIT = "There is no credit left on the account or the key: add some or raise its limit at the service; waiting does not help"

TABLE: tuple[RefusalRow, ...] = (
    RefusalRow(
        error=BadRequest,
        words=_FILTER_WORDS,
        statuses=_4XX,
        next_step="The content filter refused the prompt or the input image: change it; OpenAI's models filter "
        "less with `moderation` set to low",
    ),
    RefusalRow(
        error=RateLimited,
        codes=frozenset({"billing_hard_limit_reached", "billing_not_active"}),
        words=_QUOTA_WORDS,
        next_step=_NO_CREDIT,
    ),
    RefusalRow(
        error=RateLimited,
        statuses=frozenset({401, 403}),
        words=r"quota|balance|credit|billing|overdue|arrear|额度|余额|配额|欠费",
        next_step=_NO_CREDIT,
    ),
    RefusalRow(
        error=RateLimited,
        statuses=frozenset({402}),
        next_step=_NO_CREDIT,
    ),
    RefusalRow(
        error=RateLimited,
        codes=frozenset({"429"}),
        words=_RATE_WORDS,
        next_step="Wait a moment and try again, or raise the account's limits",
        retry=True,
    ),
    RefusalRow(
        error=AuthorizationFailed,
        statuses=frozenset({403}),
        words=r"verif",
        next_step="Verify the organisation in OpenAI's settings (it can take 15 minutes to count), or use another model",
    ),
    RefusalRow(
        error=AuthorizationFailed,
        statuses=frozenset({401, 403}),
        words=MISSING_SCOPES,
        next_step="Give the restricted key the permission that is named, or fill an unrestricted one into {api_key}",
    ),
    RefusalRow(
        error=AuthorizationFailed,
        statuses=frozenset({401, 403}),
        words=r"(access|permission)[^.]*\bmodel\b|model[^.]*(access|permission)|无权[^,，。]*模型",
        next_step="The key may not use this model: choose another in {remote_model}{models}, or give the "
        "key's group this one",
    ),
    RefusalRow(
        error=AuthorizationFailed,
        codes=frozenset({"invalid_api_key"}),
        next_step="Check {api_key}; keys belong to one service and one account",
    ),
    RefusalRow(error=AuthorizationFailed, statuses=frozenset({401, 403, 407}), next_step="{login}"),
    RefusalRow(
        error=BadRequest,
        codes=frozenset({"model_not_found", "invalid_model", "DeploymentNotFound"}),
        words=_CHANNEL_WORDS,
        next_step="Write a model that this server offers to the key's group into {remote_model}{models}",
    ),
    RefusalRow(
        error=BadRequest,
        words=_MODEL_WORDS,
        statuses=frozenset({400, 404, 422, 500}),
        next_step="Write a model that this server has into {remote_model}{models}",
    ),
    RefusalRow(
        error=BadRequest,
        statuses=frozenset({404, 405}),
        next_step="Check {base_url}: the address with its version (/v1, /api/v3), or the whole endpoint; some "
        "servers generate and do not edit",
    ),
    RefusalRow(error=BadRequest, statuses=frozenset({413}), next_step="Send smaller or fewer input images"),
    RefusalRow(
        error=RateLimited,
        statuses=frozenset({429}),
        next_step="Wait a moment and try again, or raise the account's limits",
        retry=True,
    ),
    RefusalRow(
        error=BadRequest,
        params=r"\bsize\b|image_size|max-generated-image-size|pixels",
        statuses=frozenset({400, 422}),
        next_step="Change `width` and `height`, or leave them out for the model's own size",
    ),
    RefusalRow(
        error=BadRequest,
        words=r"image.*(is|are) required|image or url|at least one image|missing image file|received .*input images",
        statuses=_4XX,
        next_step="Send as many input images as the model takes: switch on the node's vision setting, choose an image",
    ),
    RefusalRow(
        error=BadRequest,
        params=r"num_inference_steps",
        statuses=frozenset({400, 422}),
        next_step="Change `steps`",
    ),
    RefusalRow(
        error=BadRequest,
        params=r"guidance_scale|true_cfg_scale|\bcfg\b",
        statuses=frozenset({400, 422}),
        next_step="Change `cfg_scale`",
    ),
    RefusalRow(
        error=BadRequest,
        codes=frozenset({"unknown_parameter"}),
        words=r"unknown parameter|unrecognized (request )?argument|extra (inputs|fields)",
        statuses=frozenset({400, 422}),
        next_step="The server does not know this parameter: check {dialect}",
    ),
    RefusalRow(
        error=ServerUnavailable,
        words=r"out of memory|\boom\b|cuda error|failed to allocate",
        next_step="The GPU has too little memory for this: ask for a smaller size, fewer images or fewer steps",
    ),
    RefusalRow(
        error=ServerUnavailable,
        statuses=frozenset({503}),
        words=r"diffusion stage|diffusion|engine",
        next_step="Start the server with an image model (vLLM: `vllm serve <model> --omni`) and wait until it is loaded",
    ),
    RefusalRow(
        error=ServerUnavailable,
        statuses=frozenset({503}),
        next_step="The server is starting, loading a model or overloaded: try again in a moment",
        retry_with_header=True,
    ),
    RefusalRow(
        error=ServerUnavailable,
        statuses=frozenset({502, 504, 524}),
        next_step="A proxy in front of the server gave up: raise its read timeout (images take minutes), or ask for "
        "less",
    ),
    RefusalRow(
        error=ConnectionFailed,
        statuses=frozenset({408}),
        next_step="Try again; the server did not wait long enough",
    ),
    RefusalRow(
        error=ServerUnavailable,
        statuses=frozenset({409}),
        words=r"cancel",
        next_step="The job was cancelled at the server: try again",
    ),
    RefusalRow(error=BadRequest, statuses=_4XX, next_step="Change what the server names and try again"),
    RefusalRow(
        error=ServerUnavailable,
        statuses=frozenset(range(500, 600)),
        next_step="Try again; if it stays, look at the server's own log",
    ),
)

_ACCEPTED = "It may be billed: look at the service's log or usage page before sending it again"


@dataclass(frozen=True, slots=True)
class Refusals:
    """The reading of one account's refusals; `models` names what the server is known to serve."""

    access: Access
    models: str = ""

    def explain(self, reply: Reply) -> Explanation:
        return self._explained(reply, reply.status)

    def explain_success(self, reply: Reply) -> Explanation:
        """The reading of a 2xx answer without an image: gateways send errors with any status."""
        body = reply.json()
        status = implied_status(body)
        if status is None:
            words = spelled(_without_bookkeeping(body))
            said = "the service reported success without an image" + (f" ({words})" if words else "")
            return Explanation(error=ServerUnavailable, said=said, next_step=_ACCEPTED)
        meaning = self._explained(reply, status)
        return replace(meaning, next_step=_ACCEPTED) if meaning.error is ServerUnavailable else meaning

    def _explained(self, reply: Reply, status: int) -> Explanation:
        body = reply.json()
        codes = codes_of(body)
        said = f"HTTP {reply.status}, {spelled(body)}" if has_failed(body) else said_by(reply)
        for row in TABLE:
            if row.fits(status, codes, said):
                again = row.retry or (row.retry_with_header and reply.retry_after is not None)
                return Explanation(
                    error=row.error,
                    said=said,
                    next_step=self._filled(row.next_step),
                    retry_after=0.0 if again else None,
                )
        return Explanation(error=class_for_status(status), said=said, next_step=self._filled("Check {base_url}"))

    def _filled(self, next_step: str) -> str:
        fields = {name: self.access.where(name) for name in _FIELDS}
        listed = f"; it has {self.models}" if self.models else ""
        login = _LOGIN if self.access.api_key else (_PASSWORD if self.access.username else _NO_LOGIN)
        return next_step.replace("{login}", login).format(models=listed, **fields)


_FIELDS = ("api_key", "remote_model", "base_url", "dialect", "username")
_LOGIN = "Check {api_key}; keys belong to one service and one account"
_PASSWORD = "Check {username}, and the password"  # noqa: S105 -- a sentence about one
_NO_LOGIN = "The server wants a key: fill {api_key}"

_BOOKKEEPING = frozenset({"created", "id", "object", "model", "usage", "seed", "timings", "code", "size", "quality",
                          "background", "output_format"})  # fmt: skip
_FINE = re.compile(r"\W*(success(ful|fully)?|succeeded|succeed|ok(ay)?|done|completed|成功)\W*", re.IGNORECASE)
_IMPLIED = ((_FILTER_WORDS, 400), (_RATE_WORDS, 429), (_AUTH_WORDS, 401), (_SERVER_WORDS, 500))


def _without_bookkeeping(body: object) -> object:
    """What an answer says besides its numbers and ids."""
    if not isinstance(body, Mapping):
        return body
    return {key: value for key, value in body.items() if key not in _BOOKKEEPING}


def implied_status(body: object) -> int | None:
    """The status that an error inside a 2xx answer would have had; None where the answer speaks of no error."""
    codes = codes_of(body)
    if codes.status:
        return codes.status
    text = spelled(body)
    if not _says_error(body):  # a refused prompt may come as an empty list with a remark
        return 400 if re.search(_FILTER_WORDS, text, re.IGNORECASE) else None
    return next((status for words, status in _IMPLIED if re.search(words, text, re.IGNORECASE)), 400)


def as_reply(fault: object) -> Reply:
    """An error that stands inside a 2xx answer, as an answer of its own."""
    return Reply(200, {}, json.dumps({"error": fault}).encode())


def refused_keys(reply: Reply, sent: Iterable[str]) -> tuple[str, ...]:
    """Which of the keys that were sent a refusal names."""
    said, named = said_by(reply), codes_of(reply.json()).param
    quoted = set(re.findall(r"['\"`‘“]([\w.]+)['\"`’”]", said))
    words = {word for word in re.findall(r"\w+", said) if "_" in word}
    return tuple(key for key in sent if key == named or key in quoted | words)


def _says_error(body: object) -> bool:
    match body:
        case _ if has_failed(body):
            return True
        case [first, *_]:
            return _says_error(first)
        case {"error": fault} if fault:
            return True
        case {"errors": fault} | {"detail": fault} if fault:
            return True
        case {"message": str(words)} | {"msg": str(words)}:
            return bool(words.strip()) and not _FINE.fullmatch(words)
        case _:
            return False
