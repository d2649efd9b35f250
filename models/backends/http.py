"""The only module that sends HTTP requests: one session per process, timeouts, limits, redaction, retries and errors.

A service gives method, path and body, and explains its refusals (`Explain`); the rest is done here.
"""

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import gevent
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from models.backends.affinity import Cookies, keep_affinity, with_cookies
from models.backends.errors import AuthorizationFailed, ConnectionFailed, ImageError, ServerUnavailable, redact
from models.backends.public_adapter import public_adapter
from models.backends.reply import Explain, Explanation, Reply, plain_explanation
from models.clock import Clock, Deadline

CLIENT_NAME = "dify-image-generation"
CLIENT_VERSION = "0.1.0"
MIB = 1024 * 1024
MAX_REPLY_BYTES = 192 * MIB  # ten images of 4 megapixels as base64 take 170
CONNECT_TIMEOUT = 10.0
_IDEMPOTENT = frozenset({"GET", "HEAD"})
_READABLE = 20_000  # characters of a reply that are searched for secrets; messages are much shorter

type JsonBody = Mapping[str, object] | Sequence[object] | bytes  # bytes: already written
type FormField = str | tuple[str, bytes, str]  # text, or (file name, bytes, MIME type)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request that may be repeated is repeated, and the waits (seconds) where the service names none."""

    delays: tuple[float, ...] = (1.0, 4.0)
    longest: float = 60.0


NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)  # where a server has no such endpoint
ONCE = Retries(delays=())


class TimedOutError(ConnectionFailed):
    """The caller's own deadline has passed. `transient`: the question may be repeated."""


class TooLargeError(ServerUnavailable):
    """A reply with more bytes than the caller allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service with one account's login.

    `name` is its name in messages, `settings` the form field with its address. `secrets` are redacted from messages.
    `headers` (authorization included) are sent with every request to `base_url` and nowhere else; so are `cookies`, which
    every reply updates; None keeps none. `public_only` refuses connections to addresses that are not of the Internet.
    """

    name: str
    base_url: str
    clock: Clock
    settings: str = "the provider's settings"
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    explain: Explain = plain_explanation
    public_only: bool = False
    cookies: Cookies | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        attempt: str,
        deadline: Deadline,
        json: JsonBody | None = None,
        form: Mapping[str, FormField] | Sequence[tuple[str, FormField]] | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float = 120.0,
        max_bytes: int = MAX_REPLY_BYTES,
        retries: Retries = Retries(),
        accept: tuple[int, ...] = (),
    ) -> Reply:
        """Send one request and return the reply if its status is 2xx or in `accept`.

        `attempt` completes the sentence "… failed" for the user ("Generating with Stability AI"). `form` makes the body
        multipart. A GET or HEAD is repeated after any temporary failure; other methods only if nothing was sent or the
        service promises that nothing happened (`Explanation.retry_after`).

        Raises an ImageError: ConnectionFailed for network errors and a passed deadline, else what `explain` returns.
        """
        url, files = join_url(self.base_url, path), None if form is None else _multipart(form)
        body = {"data": json} if isinstance(json, bytes) else {"json": json}
        send = self._prepared(requests.Request(method, url, headers, files, params=params, **body), attempt)
        idempotent = method in _IDEMPOTENT
        failure: ImageError | None
        waits, failure = iter(retries.delays), None
        while True:
            try:
                reply = self._send_once(send, attempt, deadline, read_timeout, max_bytes)
            except TimedOutError as late:
                raise (failure or late).in_doubt() from None  # an earlier failure tells the cause
            except _NETWORK_TROUBLE as error:
                may_repeat = not _hopeless(error) and (idempotent or _refused(error))
                failure = self._network_failure(attempt, error, billable=not idempotent)
                failure.undone = _refused(error) or _hopeless(error)
                asked = None
            else:
                if reply.ok or reply.status in accept:
                    return reply
                meaning = self._meaning(reply)
                may_repeat = meaning.retry_after is not None or (idempotent and _passing(reply.status))
                failure = self.failure(attempt, meaning, transient=_passing(reply.status))
                failure.undone = meaning.retry_after is not None
                asked = reply.retry_after or meaning.retry_after
            pause = self._pause(waits, asked, retries, deadline) if may_repeat else None
            if pause is None:
                raise failure from None  # causes carry raw replies and headers
            self.clock.sleep(pause)

    def _prepared(self, send: requests.Request, attempt: str) -> requests.PreparedRequest:
        headers = with_cookies(self.headers, self.cookies)
        send.headers = {"User-Agent": f"{CLIENT_NAME}/{CLIENT_VERSION}", **headers, **send.headers}
        send.auth = lambda prepared: prepared  # else requests replaces our login by one of ~/.netrc
        if not all(_sendable(value) for value in send.headers.values()):
            raise AuthorizationFailed(
                f"{attempt} failed",
                "the key or login contains a character that cannot be sent, such as a line break or a curly quote",
                "Copy it again from its source",
            )
        try:
            return _session().prepare_request(send)
        except _NETWORK_TROUBLE as error:  # the address is not a URL
            raise self._network_failure(attempt, error) from None

    def _meaning(self, reply: Reply) -> Explanation:
        if not reply.redirects:
            return self.explain(reply)
        # Only the host: the rest of the target may hold a ticket or a login.
        target = _host(reply.headers.get("location", "")) or "another page"
        return Explanation(
            error=ServerUnavailable,
            said=f"HTTP {reply.status}, the address redirects to {target}",
            next_step=f"Enter the final address in {self.settings}; the plugin cannot pass a login page",
        )

    def failure(self, attempt: str, meaning: Explanation, *, transient: bool = False) -> ImageError:
        """The error of a refusal, redacted. Its cause is never chained, because causes hold raw replies."""
        error = meaning.error(
            f"{attempt} failed",
            redact(meaning.said[:_READABLE], self._hidden),
            redact(meaning.next_step, self._hidden) or meaning.error.advice,
            transient=transient,
        )
        error.undone |= meaning.retry_after is not None
        return error

    def _send_once(
        self, send: requests.PreparedRequest, attempt: str, deadline: Deadline, read_timeout: float, max_bytes: int
    ) -> Reply:
        if deadline.passed:
            raise timed_out(attempt)
        session = _session()
        left = deadline.remaining
        # A connection that is not accepted is reported as such; for a late reply, the deadline comes first.
        timeout = (min(CONNECT_TIMEOUT, 0.9 * left), max(0.1, min(read_timeout, left + 1.0)))
        url = send.url or ""
        settings: Any = session.merge_environment_settings(url, {}, True, None, None)
        # A socket timeout restarts with every byte; this one limits the reply as a whole.
        over = gevent.Timeout(left)
        try:
            # Not `session.send`: it reads the target and the whole body of a redirect, without any limit.
            adapter = public_adapter() if self.public_only else session.get_adapter(url)
            with over, closing(adapter.send(send, timeout=timeout, **settings)) as response:
                keep_affinity(response.cookies, self.cookies)
                body = read_capped(response, max_bytes, attempt)
                return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)
        except gevent.Timeout as passed:
            if passed is not over:  # set by a caller, not here
                raise
            raise self._late(attempt, idempotent=send.method in _IDEMPOTENT) from None

    def _late(self, attempt: str, *, idempotent: bool) -> TimedOutError:
        """The error for a reply that did not come before the deadline."""
        said, advice = _silence(_host(self.base_url), billable=not idempotent)
        if not idempotent:
            said, advice = (
                f"the time limit of the job has passed: {said}",
                "Raise `timeout`, or check {name} before trying again",
            )
        return TimedOutError(
            f"{attempt} failed",
            redact(said, self._hidden),
            advice.format(settings=self.settings, name=self.name),
            transient=idempotent,
        )

    def _network_failure(self, attempt: str, error: Exception, *, billable: bool = False) -> ConnectionFailed:
        said, advice = _network_words(error, self.base_url, billable=billable)
        return ConnectionFailed(
            f"{attempt} failed",
            redact(said, self._hidden),
            advice.format(settings=self.settings, name=self.name),
            transient=not _hopeless(error),
        )

    @property
    def _hidden(self) -> tuple[str, ...]:
        """The secrets in every form in which a quoted header or address may show them."""
        credentials = self.headers.get("Authorization", "").rpartition(" ")[2]
        return tuple(form for secret in (*self.secrets, credentials) if secret for form in (secret, quote(secret, "")))

    def _pause(self, waits: Iterator[float], asked: float | None, retries: Retries, deadline: Deadline) -> float | None:
        planned = next(waits, None)
        if planned is None:
            return None
        pause = asked or planned
        return pause if pause <= retries.longest and pause < deadline.remaining else None


_NETWORK_TROUBLE = (requests.RequestException, urllib3.exceptions.HTTPError)  # urllib3's own for malformed addresses
_BAD_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationParseError,
)


def _hopeless(error: Exception) -> bool:
    """Whether the request would fail again: a wrong address or certificate."""
    return isinstance(error, (*_BAD_ADDRESS, requests.exceptions.SSLError))


def _refused(error: Exception) -> bool:
    """Whether the connection itself failed, so that no byte of the request reached the service."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)


def _unanswered(error: Exception) -> bool:
    # A silence in the middle of the body arrives as a ConnectionError around urllib3's own class.
    return isinstance(error, requests.exceptions.ReadTimeout) or any(
        isinstance(arg, ReadTimeoutError) for arg in error.args
    )


def _passing(status: int) -> bool:
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _network_words(error: Exception, base_url: str, *, billable: bool) -> tuple[str, str]:
    host = _host(base_url)
    match error:
        case _ if isinstance(error, _BAD_ADDRESS):
            shown = host if "@" in base_url else base_url
            return f"the address {shown!r} is not a URL", "Write it as http://host:port in {settings}"
        case requests.exceptions.SSLError():
            return (
                f"no secure connection to {host} could be made",
                "Check the address in {settings}: it may have to begin with http://, or its certificate is not valid",
            )
        case requests.exceptions.ProxyError():
            return f"the proxy on the way to {host} did not forward the request", "Check the proxy of the plugin's host"
        case requests.exceptions.ConnectTimeout():
            return f"{host} did not accept a connection in time", "Check the address in {settings} and the firewall"
        case _ if _unanswered(error):
            return _silence(host, billable=billable)
        case _ if _refused(error):
            return (
                f"{host} could not be reached",
                "Check the address in {settings} and that {name} is running there; from inside a container, localhost "
                "is the container itself: use the machine's LAN address or host.docker.internal",
            )
        case _ if billable:
            return (
                f"the connection to {host} was lost; the request may still have been processed",
                "Check {name} before trying again",
            )
        case _:
            return f"the connection to {host} was lost", "Try again; if it persists, check {name}'s log"


def _silence(host: str, *, billable: bool) -> tuple[str, str]:
    if billable:
        return (
            f"{host} accepted the request and did not reply in time; it may still have been processed",
            "Check {name} before trying again",
        )
    return f"{host} did not reply in time", "Check that {name} is running at the address in {settings}"


def timed_out(attempt: str) -> TimedOutError:
    next_step = "Raise `timeout`, or request fewer or smaller images"
    return TimedOutError(f"{attempt} failed", "the time limit of the job has passed", next_step)


def read_capped(response: requests.Response, max_bytes: int, attempt: str) -> bytes:
    """The body, decompressed, at most `max_bytes` long. Raises TooLargeError for a longer one."""
    body = io.BytesIO()  # grows in place; joining a list of chunks would take twice the memory
    for chunk in response.iter_content(64 * 1024):
        if body.tell() + len(chunk) > max_bytes:
            body.close()
            raise TooLargeError(
                f"{attempt} failed",
                f"the reply is larger than {max_bytes // MIB} MiB",
                "Request fewer or smaller images",
            )
        body.write(chunk)
    return body.getvalue()


def join_url(base_url: str, path: str) -> str:
    """`path` below `base_url`; a path prefix of the base (a reverse proxy's mount point) is kept."""
    return f"{base_url.rstrip('/')}/{path.removeprefix('/')}"


def basic_auth(username: str, password: str) -> dict[str, str]:
    """The Authorization header for Basic auth, UTF-8; empty without a user name and password."""
    if not username and not password:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def bearer_auth(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL = re.compile(
    r"^(localhost|host\.docker\.internal|[^./:]+|\d+\.\d+\.\d+\.\d+|\[.*\]|[^/]*\.(local|lan|internal))(:\d+)?(/|$)"
)


def with_scheme(address: str) -> str:
    """The address with a scheme and without a fragment.

    A missing scheme is http for hosts of the LAN, https for others.
    """
    address = address.partition("#")[0].strip()
    if not address or _SCHEME.match(address):
        return address
    return f"http://{address}" if _LOCAL.match(address.rpartition("@")[2]) else f"https://{address}"


def split_userinfo(base_url: str) -> tuple[str, str, str]:
    """`http://user:pass@host/x` → (`http://host/x`, user, pass): a login in the address must not appear in messages."""
    try:
        parts = urlsplit(base_url)
    except ValueError:  # not a URL: the request reports it
        return base_url, "", ""
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return clean, unquote(parts.username or ""), unquote(parts.password or "")


def _sendable(value: str | bytes) -> bool:
    # http.client sends headers as latin-1, and a line break would begin another header.
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text == text.strip() and text.isprintable() and all(ord(char) < 256 for char in text)  # noqa: PLR2004


def _host(base_url: str) -> str:
    """Host and port without a login; of an address that is not a URL, what is left of it."""
    after_login = base_url.rpartition("@")[2]
    try:
        return urlsplit(base_url).netloc.rpartition("@")[2] or after_login
    except ValueError:
        return after_login


def _multipart(form: Mapping[str, FormField] | Sequence[tuple[str, FormField]]) -> list[tuple[str, Any]]:
    pairs = form.items() if isinstance(form, Mapping) else form
    # Text parts carry no file name: servers read a part with one as an upload.
    return [(name, (None, value) if isinstance(value, str) else value) for name, value in pairs]


@cache
def _session() -> requests.Session:
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=64, pool_maxsize=256)  # 200 jobs in flight may all talk to one host
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    # One process serves many accounts: a cookie of one must never reach the request of another.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session
