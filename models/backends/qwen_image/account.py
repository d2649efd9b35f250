"""The region, base URL and kind of key of an account, and what a refusal means for it.

Source: Model Studio, pages on regions, base URLs and Token Plan. `refusals.yaml` has the error codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from models.backends.errors import BadRequest, RateLimited
from models.backends.http import with_scheme
from models.backends.qwen_image.wire import StudioFailure
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply
from models.settings import Access

API_PATH = "/api/v1"
COMPATIBLE_PATH = "/compatible-mode/v1"
TOKEN_PLAN_URLS = (
    "https://token-plan.cn-beijing.maas.aliyuncs.com/api/v1",
    "https://token-plan.ap-southeast-1.maas.aliyuncs.com/api/v1",
)
_REFUSALS = RefusalTable.beside(__file__)
_PER_MINUTE_WAIT = 15.0  # seconds; for models whose limit counts by the minute
_FAST = 60  # requests a minute; from here on the caller's own delays are long enough


@dataclass(frozen=True, slots=True)
class Region:
    """`code` is the part of a workspace's host name that names its region."""

    title: str
    base_url: str
    code: str


REGIONS: Mapping[str, Region] = {
    "beijing": Region("Beijing", "https://dashscope.aliyuncs.com/api/v1", ".cn-beijing."),
    "singapore": Region("Singapore", "https://dashscope-intl.aliyuncs.com/api/v1", ".ap-southeast-1."),
    "us": Region("US (Virginia)", "https://dashscope-us.aliyuncs.com/api/v1", ".us-east-1."),
}


@dataclass(frozen=True, slots=True)
class Account:
    """`region` is a key of REGIONS, None if the address does not show it (a gateway, another region)."""

    access: Access
    base_url: str
    region: str | None

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def place(self) -> str:
        """The region, or else the host, as words for a message."""
        return REGIONS[self.region].title if self.region else self.host

    @property
    def token_plan_key(self) -> bool:
        return self.access.api_key.startswith("sk-sp-")

    @property
    def token_plan(self) -> bool:
        """Token Plan accounts are refused every asynchronous call."""
        return self.token_plan_key or self.host.startswith("token-plan.")


def compatible_base(base_url: str) -> str:
    """The OpenAI-compatible base URL of a native one; only used to list models."""
    return base_url.removesuffix(API_PATH) + COMPATIBLE_PATH


def read_account(access: Access) -> Account:
    """Raises BadRequest for a region that does not exist."""
    if access.base_url:
        base_url = _native(with_scheme(access.base_url))
        return Account(access, base_url, _region_of(base_url))
    region = access.region or "beijing"
    if region in REGIONS:
        return Account(access, REGIONS[region].base_url, region)
    choices = f"Choose one of {', '.join(REGIONS)} in {access.where('region')}"
    raise BadRequest(f"There is no region {region!r}", next_step=choices)


def _native(base_url: str) -> str:
    """The native base for whatever part of an address was pasted: a bare host, or the OpenAI-compatible base."""
    base = base_url.rstrip("/")
    if base.endswith(COMPATIBLE_PATH) or not urlsplit(base).path:
        return base.removesuffix(COMPATIBLE_PATH) + API_PATH
    return base


def _region_of(base_url: str) -> str | None:
    host = urlsplit(base_url).hostname or ""
    known = (
        name for name, one in REGIONS.items() if one.code in f".{host}." or host == urlsplit(one.base_url).hostname
    )
    return next(known, None)


@dataclass(frozen=True, slots=True)
class RefusalContext:
    account: Account
    model: str
    regions: tuple[str, ...]
    requests_per_minute: int


def explain(context: RefusalContext, reply: Reply) -> Explanation:
    """What a refusal means, also one rewritten by a gateway."""
    failure = StudioFailure.read(reply.json())
    return explain_failure(context, failure, reply.status) if failure.code else _explained(context, Fault.read(reply))


def explain_failure(asked: RefusalContext, failure: StudioFailure, status: int) -> Explanation:
    return _explained(asked, Fault(said=failure.words, status=status, codes=(failure.code,)))


def _explained(context: RefusalContext, fault: Fault) -> Explanation:
    account = context.account
    words = {"key_advice": key_advice(account), "model_advice": model_advice(context), "region": account.place}
    meaning = _REFUSALS.explain(fault, account.access, **words)
    if meaning.error is RateLimited and meaning.retry_after is not None:
        return replace(meaning, retry_after=max(meaning.retry_after, _slot(context.requests_per_minute)))
    return meaning


def _slot(requests_per_minute: int) -> float:
    return max(_PER_MINUTE_WAIT, 60 / requests_per_minute) if requests_per_minute < _FAST else 0.0


def key_advice(account: Account) -> str:
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


def model_advice(context: RefusalContext) -> str:
    where = " and ".join(REGIONS[name].title for name in context.regions)
    offered = f"models like it are offered in {where}, and this account uses {context.account.place}"
    return f"Check the model's name ({context.model}); {offered}"
