"""Where images are kept: the form's `storage_url` and `storage_public_url`, read once into a StoreAddress.

    s3://KEY:SECRET@host[:port]/bucket/prefix?region=...&tls=false&style=path
    gs://KEY@bucket/prefix          KEY: a service account's JSON file as base64; without it the machine's own login
    az://ACCOUNT:KEY@container/prefix
    file:///folder                  a folder of the machine that runs the plugin

All take `storage_link_hours=168` (how long a signed link lives) and `deliver=url` in the query.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

from models.backends.errors import BadRequest
from models.backends.http import with_scheme
from models.settings import Settings

type Kind = Literal["s3", "gs", "az", "file"]

FIELD, PUBLIC_FIELD = "storage_url", "storage_public_url"
LONGEST_LINK_HOURS = 168.0
"""S3 signs for at most seven days."""
_FORMS: Mapping[Kind, str] = {
    "s3": "s3://KEY:SECRET@host/bucket/prefix?region=...",
    "gs": "gs://KEY@bucket/prefix",
    "az": "az://ACCOUNT:KEY@container/prefix",
    "file": "file:///folder",
}
_QUERY = frozenset({"region", "tls", "style", "endpoint", "storage_link_hours", "deliver"})
_WHERE_BUCKET_IS_IN_THE_HOST = re.compile(r"\.(amazonaws\.com(\.cn)?|aliyuncs\.com|myqcloud\.com|volces\.com)$")
"""Services that no longer take the bucket as the first part of the path, or warn against it."""
_REGION_IN_HOST = (
    re.compile(r"^s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com"),
    re.compile(r"^(?:tos-s3-)?(oss-[a-z0-9-]+?|[a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.(?:aliyuncs|volces)\.com$"),
    re.compile(r"^cos\.([a-z0-9-]+)\.myqcloud\.com$"),
)
_USUAL_REGION = "us-east-1"  # MinIO's, and that of servers which do not look at it


@dataclass(frozen=True, kw_only=True, repr=False)  # it would print its secrets
class StoreAddress:
    """One store. `bucket` is Azure's container; `prefix` and `public_url` have no slash at their ends.

    `endpoint` is empty where the kind has a home of its own. `deliver_url`: Dify gets the kept image's address.
    """

    kind: Kind
    bucket: str = ""
    prefix: str = ""
    folder: str = ""
    endpoint: str = ""
    key: str = ""
    secret: str = ""
    region: str = ""
    virtual_hosted: bool = False
    link_hours: float = LONGEST_LINK_HOURS
    deliver_url: bool = False
    public_url: str = ""

    @classmethod
    def read(cls, settings: Settings) -> "StoreAddress | None":
        """The store of a form; None where there is none. Raises BadRequest that names the field."""
        text, public = settings.text(FIELD), settings.text(PUBLIC_FIELD)
        if not text:
            if public:
                raise BadRequest(
                    f"There is an address in {settings.where(PUBLIC_FIELD)} and no storage",
                    next_step=f"Fill {settings.where(FIELD)}, or empty the other field",
                )
            return None
        try:
            address = _read(text, with_scheme(public).rstrip("/"))
        except ValueError as error:
            raise BadRequest(f"{settings.where(FIELD)} {error}", next_step="Correct it, and save again") from None
        if address.kind == "file" and address.deliver_url and not address.public_url:
            raise BadRequest(
                f"`deliver=url` in {settings.where(FIELD)} needs an address of the folder",
                next_step=f"Fill {settings.where(PUBLIC_FIELD)} with the address at which a web server shows it",
            )
        return address

    def full_key(self, name: str) -> str:
        """The object's name with the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def public(self, name: str) -> str:
        """The public address of an object; empty without a public base."""
        return f"{self.public_url}/{quote(name)}" if self.public_url else ""

    @cached_property
    def place(self) -> str:
        """The store in words for a message, without its login."""
        if self.kind == "file":
            return f"the folder {self.folder}"
        where = re.sub(r"^https?://", "", self.endpoint) or {"gs": "Google Cloud Storage"}.get(self.kind, "Azure")
        return f"{where} (bucket {self.bucket})"


def _read(text: str, public_url: str) -> StoreAddress:
    """Raises ValueError whose text completes the sentence that begins with the field's name."""
    head, _, query = text.partition("?")
    scheme, separator, rest = head.partition("://")
    kind = scheme.casefold()
    if not separator or kind not in _FORMS:
        raise ValueError(f"is not the address of a storage; write {', '.join(_FORMS.values())}")
    options = _options(query)
    common = {
        "link_hours": _hours(options.get("storage_link_hours", "")),
        "deliver_url": _choice(options, "deliver", ("url", "bytes"), "bytes") == "url",
        "public_url": public_url,
    }
    # The secret of S3 may hold slashes, as it is copied: the last @ ends the login.
    login, _, location = rest.rpartition("@")
    if kind == "file":
        return StoreAddress(kind="file", folder=_folder(rest), **common)  # type: ignore[arg-type]
    key, _, secret = login.partition(":")
    parts = [unquote(part) for part in location.split("/") if part]
    where = _s3(parts, options) if kind == "s3" else _others(kind, parts, options)
    if kind in {"s3", "az"} and not (key and secret):
        raise ValueError(f"has no login; write {_FORMS[kind]}")  # type: ignore[index]
    return StoreAddress(key=unquote(key), secret=unquote(secret), **where, **common)  # type: ignore[arg-type]


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := [name for name in options if name not in _QUERY]:
        raise ValueError(f"has the unknown option `{unknown[0][:40]}`; known are {', '.join(sorted(_QUERY))}")
    return options


def _choice(options: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = options.get(name, default).casefold()
    if value not in choices:
        raise ValueError(f"has `{name}={value[:40]}`; write one of {', '.join(choices)}")
    return value


def _hours(text: str) -> float:
    if not text:
        return LONGEST_LINK_HOURS
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text) or not 0 < float(text) <= LONGEST_LINK_HOURS:
        raise ValueError(f"has `storage_link_hours={text[:40]}`; write hours above 0, at most {LONGEST_LINK_HOURS:g}")
    return float(text)


def _folder(text: str) -> str:
    folder = unquote(text).rstrip("/")
    if not text.startswith("/") or not PurePosixPath(folder).parts[1:] or ".." in PurePosixPath(folder).parts:
        raise ValueError("does not name a folder; write file:/// and its absolute path")
    return folder


def _s3(parts: list[str], options: Mapping[str, str]) -> dict[str, object]:
    if len(parts) < 2:  # noqa: PLR2004 -- host and bucket
        raise ValueError(f"names no host or no bucket; write {_FORMS['s3']}")
    host, bucket, *prefix = parts
    name = host.partition(":")[0]
    style = _choice(options, "style", ("path", "virtual"), _usual_style(name, bucket))
    scheme = "http" if _choice(options, "tls", ("true", "false"), "true") == "false" else "https"
    return {
        "kind": "s3",
        "bucket": bucket,
        "prefix": "/".join(prefix),
        "endpoint": f"{scheme}://{bucket}.{host}" if style == "virtual" else f"{scheme}://{host}",
        "region": options.get("region") or _region_of(name),
        "virtual_hosted": style == "virtual",
    }


def _usual_style(host: str, bucket: str) -> str:
    # A certificate for *.host does not hold for a bucket with a dot in its name.
    return "virtual" if _WHERE_BUCKET_IS_IN_THE_HOST.search(host) and "." not in bucket else "path"


def _region_of(host: str) -> str:
    found = next(filter(None, (pattern.search(host) for pattern in _REGION_IN_HOST)), None)
    if host.endswith(".r2.cloudflarestorage.com"):
        return "auto"
    return found[1] if found else _USUAL_REGION


def _others(kind: str, parts: list[str], options: Mapping[str, str]) -> dict[str, object]:
    if not parts:
        raise ValueError("names no bucket")
    bucket, *prefix = parts
    endpoint = options.get("endpoint", "").rstrip("/")
    return {"kind": kind, "bucket": bucket, "prefix": "/".join(prefix), "endpoint": endpoint}
