"""The cookies by which a load balancer keeps the requests of one job on one server.

HAProxy, Envoy, Traefik, nginx and cloud balancers set a cookie that names the server which answered. A job that sends it
back with every further request stays there. Such cookies are kept per job, travel in the job's state, and are never
shared between jobs or accounts. A cookie that may be a login is not kept: a state holds no secret.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.cookiejar import CookieJar
from http.cookies import CookieError, SimpleCookie

type Cookies = dict[str, str]

_LOGIN_NAME = re.compile(r"auth|token|jwt|secret|csrf|xsrf|passw|login|credential|identity|saml|sso", re.IGNORECASE)
_JWT = "eyJ"  # how a JSON web token begins
_LONGEST = 512  # characters of a value; the longest ones known, of cloud balancers, have about 200


def keep_affinity(found: CookieJar, kept: Cookies | None) -> None:
    """Put the cookies of a reply that may be a balancer's into `kept`; None keeps none."""
    _keep(((one.name, one.value or "") for one in found), kept)


def keep_from_header(header: str, kept: Cookies | None) -> None:
    """The same for a `Set-Cookie` header; several may be joined by `; `, as the WebSocket library does."""
    with suppress(CookieError):  # a cookie that no balancer sets
        _keep(((name, morsel.value) for name, morsel in SimpleCookie(header).items()), kept)


def _keep(pairs: Iterable[tuple[str, str]], kept: Cookies | None) -> None:
    if kept is not None:
        kept.update({name: value for name, value in pairs if value and not _may_be_login(name, value)})


def with_cookies(headers: Mapping[str, str], cookies: Mapping[str, str] | None) -> dict[str, str]:
    """`headers` that also send `cookies`, behind those which the owner's own header `Cookie` has."""
    if not cookies:
        return dict(headers)
    own = [value for name, value in headers.items() if name.lower() == "cookie"]
    others = {name: value for name, value in headers.items() if name.lower() != "cookie"}
    return {**others, "Cookie": "; ".join([*own, *(f"{name}={value}" for name, value in cookies.items())])}


def _may_be_login(name: str, value: str) -> bool:
    return bool(_LOGIN_NAME.search(name)) or value.startswith(_JWT) or len(value) > _LONGEST
