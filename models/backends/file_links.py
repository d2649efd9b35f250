"""Which addresses of images may lead into the owner's own network: Dify's signed links, and hosts that `limits` names."""

import re
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

_DIFY_PATH = re.compile(r"(?:/[\w.-]+)*/files/(?:tools/[\w-]{36}(?:\.\w{1,8})?|[\w-]{36}/(?:file|image)-preview)")
_DIFY_QUERY = frozenset({"timestamp", "nonce", "sign"})


def is_dify_link(address: str) -> bool:
    """Whether an address has the form of a file link that Dify signed (`/files/tools/<id>.png?timestamp=...`)."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # The path may lie below a prefix of a reverse proxy.
    return bool(_DIFY_PATH.fullmatch(parts.path)) and parse_qs(parts.query).keys() >= _DIFY_QUERY


def is_named(address: str, hosts: Sequence[str]) -> bool:
    """Whether the owner's `hosts` name the address's host, with or without its port."""
    try:
        parts = urlsplit(address)
        names = {parts.netloc.rpartition("@")[2].casefold(), (parts.hostname or "").casefold()}
    except ValueError:
        return False
    return not names.isdisjoint(hosts)


def may_be_private(address: str, hosts: Sequence[str]) -> bool:
    return is_named(address, hosts) or is_dify_link(address)
