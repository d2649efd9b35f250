"""Where an account lives: region, base URL and kind of key.

Source: Model Studio, pages on regions, base URLs and Token Plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from models.backends.errors import BadRequest
from models.backends.http import with_scheme
from models.settings import Access

API_PATH = "/api/v1"
COMPATIBLE_PATH = "/compatible-mode/v1"
TOKEN_PLAN_URLS = (
    "https://token-plan.cn-beijing.maas.aliyuncs.com/api/v1",
    "https://token-plan.ap-southeast-1.maas.aliyuncs.com/api/v1",
)


@dataclass(frozen=True, slots=True)
class Region:
    """`code` is the part of a workspace's own host name that tells its region."""

    title: str
    base_url: str
    code: str


REGIONS: Mapping[str, Region] = {
    "beijing": Region("Beijing", "https://dashscope.aliyuncs.com/api/v1", ".cn-beijing."),
    "singapore": Region("Singapore", "https://dashscope-intl.aliyuncs.com/api/v1", ".ap-southeast-1."),
    "us": Region("US (Virginia)", "https://dashscope-us.aliyuncs.com/api/v1", ".us-east-1."),
}
DEFAULT_REGION = "beijing"


@dataclass(frozen=True, slots=True)
class Account:
    """`region` is a key of REGIONS, None where the address does not tell (a gateway, another region)."""

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
    """The OpenAI-compatible base beside a native one; here it only lists models."""
    return base_url.removesuffix(API_PATH) + COMPATIBLE_PATH


def read_account(access: Access) -> Account:
    """The account of a credential form. Raises BadRequest for a region that does not exist."""
    if access.base_url:
        base_url = _native(with_scheme(access.base_url))
        return Account(access, base_url, _region_of(base_url))
    region = access.region or DEFAULT_REGION
    if region not in REGIONS:
        raise BadRequest(
            f"There is no region {region!r}",
            next_step=f"Choose one of {', '.join(REGIONS)} in {access.where('region')}",
        )
    return Account(access, REGIONS[region].base_url, region)


def _native(base_url: str) -> str:
    """The native base for whatever part of an address was pasted: a bare host, or the OpenAI-compatible base."""
    base = base_url.rstrip("/")
    if base.endswith(COMPATIBLE_PATH) or not urlsplit(base).path:
        return base.removesuffix(COMPATIBLE_PATH) + API_PATH
    return base


def _region_of(base_url: str) -> str | None:
    host = urlsplit(base_url).hostname or ""
    for name, region in REGIONS.items():
        if region.code in f".{host}." or host == urlsplit(region.base_url).hostname:
            return name
    return None
