"""Which requests are equal: their keys. Everything counts that may change an image; the seed counts as it was asked for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from models.entities import ImageRequest
from models.limits import account_of
from models.settings import Settings
from models.stages.cache.prompts import bag, canonical, guards

_WITHOUT_EFFECT = frozenset({"seeds", "notices", "details", "timeout", "cache", "fallback", "user"})
"""Fields of a request that change no image. `seeds` are drawn where nobody asked for one, `user` counts as the version."""
_ELSEWHERE = frozenset({"prompt", "images", "mask"})
_EXTRA_WITHOUT_EFFECT = frozenset({"priority"})
_OF_THE_MODEL = (
    "backend",
    "base_url",
    "remote_model",
    "workflow",
    "canary_workflow",
    "checkpoint",
    "dialect",
    "region",
)
"""Fields of a customizable model's form that say which model it is: two forms may share an account's name."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The names of a request in the cache of its account.

    `exact` is the request as it is, `similar` the request with the canonical prompt. `near` is the request with nothing
    of its prompt but the guards: among those with the same one, the meaning decides. `bag` is the prompt without order.
    """

    account: str
    exact: str
    similar: str
    near: str
    bag: str


def key_of(request: ImageRequest, settings: Settings, version: str | None = None) -> CacheKey:
    """`version` is the workflow that serves the request, where its model has two. Raises BadRequest for limits that cannot be read."""
    account, rest = account_name(settings), {**_rest(request, settings), "version": version}
    return CacheKey(
        account=account,
        exact=_digest([account, "exact", rest, request.prompt]),
        similar=_digest([account, "similar", rest, canonical(request.prompt)]),
        near=_digest([account, "near", rest, asdict(guards(request.prompt))]),
        bag=_digest(bag(request.prompt)),
    )


def account_name(settings: Settings) -> str:
    """The account in names of files and leases: no secret, and no sign that is special there."""
    return _digest(account_of(settings))[:32]


def _rest(request: ImageRequest, settings: Settings) -> Mapping[str, object]:
    """Everything but the prompt. Input images count by their content."""
    values: dict[str, object] = {
        field.name: getattr(request, field.name)
        for field in fields(request)
        if field.name not in _WITHOUT_EFFECT | _ELSEWHERE
    }
    return {
        **values,
        "extra": {name: value for name, value in request.extra.items() if name not in _EXTRA_WITHOUT_EFFECT},
        "images": [hashlib.sha256(image.data).hexdigest() for image in request.images],
        "mask": hashlib.sha256(request.mask.data).hexdigest() if request.mask else None,
        "form": {name: settings.text(name) for name in _OF_THE_MODEL} if settings.is_custom else {},
    }


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
