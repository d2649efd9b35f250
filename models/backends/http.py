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
from requests.adapters import HTTPAdapter

from models.backends.affinity import Cookies, keep_affinity, with_cookies
from models.backends.errors import AuthorizationFailed, ConnectionFailed, ImageError, ServerUnavailable, redact
from models.backends.network_errors import NETWORK_TROUBLE, hopeless, host_of, refused, silence, unanswered, words_for
from models.backends.public_adapter import public_adapter
from models.backends.reply import Explain, Explanation, Reply, plain_explanation
from models.backends.trail import noted
from models.clock import Clock, Deadline
from models.room import Intake
from models.version import VERSION

CLIENT_NAME = "dify-image-generation"
MIB = 1024 * 1024
MAX_REPLY_BYTES = 192 * MIB  # ten images of 4 megapixels as base64 take 170
CONNECT_TIMEOUT = 10.0
_IDEMPOTENT = frozenset({"GET", "HEAD"})
_READABLE = 20_000  # characters of a reply that are searched for secrets; messages are much shorter

type JsonBody = Mapping[str, object] | Sequence[object] | bytes  # bytes: already written
type FormField = str | tuple[str, bytes, str]  # text, or (file name, bytes, MIME type)


@dataclass(frozen=True, slots=True)
class Retries:
    """The waits (seconds) before a request that may be repeated is repeated; none: it is sent once.

    A wait that the service itself names (`Retry-After`) takes the place of a planned one, also after the last one: such
    a request is repeated as long as the deadline allows.
    """

    delays: tuple[float, ...] = (1.0, 4.0)


_COME_BACK = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)  # with `Retry-After`: nothing was done
_GATEWAY_TIMEOUTS = (HTTPStatus.GATEWAY_TIMEOUT, 524)  # the service behind was asked, and may still carry it out

NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)  # where a server has no such endpoint
ONCE, REPEATED = Retries(delays=()), Retries()


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
        retries: Retries = REPEATED,
        accept: tuple[int, ...] = (),
        question: bool = False,
        brings_result: bool | None = None,
    ) -> Reply:
        """Send one request and return the reply if its status is 2xx or in `accept`.

        `attempt` completes the sentence "… failed" for the user ("Generating with Stability AI"). `form` makes the body
        multipart. A GET, a HEAD and a `question` (a POST that changes nothing) are repeated after any temporary failure;
        others only if nothing was sent or the service promises that nothing happened (`Explanation.retry_after`, or 429
        and 503 with `Retry-After`). The body of a reply that `brings_result` is read when there is room for it (`models/room.py`);
        that is expected of a request which changes something.

        Raises an ImageError: ConnectionFailed for network errors and a passed deadline, else what `explain` returns.
        """
        url, files = join_url(self.base_url, path), None if form is None else _multipart(form)
        body = {"data": json} if isinstance(json, bytes) else {"json": json}
        send = self._prepared(requests.Request(method, url, headers, files, params=params, **body), attempt)
        idempotent = question or method in _IDEMPOTENT
        failure: ImageError | None
        pause: float | None
        waits, failure = iter(retries.delays), None
        while True:
            try:
                reply = self._send_once(
                    send,
                    attempt,
                    deadline,
                    read_timeout,
                    max_bytes,
                    idempotent=idempotent,
                    brings_result=not idempotent if brings_result is None else brings_result,
                )
            except TimedOutError as late:
                raise (failure or late).in_doubt() from None  # an earlier failure tells the cause
            except NETWORK_TROUBLE as error:
                may_repeat = not hopeless(error) and (idempotent or refused(error))
                failure = self._network_failure(attempt, error, billable=not idempotent)
                failure.undone = refused(error) or hopeless(error)
                pause = next(waits, None)
            else:
                if reply.ok or reply.status in accept:
                    return reply
                meaning = self._meaning(reply)
                passing = _passing(reply.status) and not meaning.no_credit
                named = _named(reply, retries) if passing else None
                postponed = named is not None and reply.status in _COME_BACK
                may_repeat = meaning.retry_after is not None or (idempotent and passing) or postponed
                failure = self.failure(attempt, meaning, transient=passing)
                failure.undone |= postponed
                failure.in_flight = reply.status in _GATEWAY_TIMEOUTS
                planned = _planned(waits, meaning)
                pause = named or planned
            if not may_repeat or pause is None or pause >= deadline.remaining:
                raise failure from None  # causes carry raw replies and headers
            self.clock.sleep(pause)

    def _prepared(self, send: requests.Request, attempt: str) -> requests.PreparedRequest:
        headers = with_cookies(self.headers, self.cookies)
        send.headers = {"User-Agent": f"{CLIENT_NAME}/{VERSION}", **headers, **send.headers}
        send.auth = lambda prepared: prepared  # else requests replaces our login by one of ~/.netrc
        if not all(_sendable(value) for value in send.headers.values()):
            raise AuthorizationFailed(
                f"{attempt} failed",
                "the key or login contains a character that cannot be sent, such as a line break or a curly quote",
                "Copy it again from its source",
            )
        try:
            return _session().prepare_request(send)
        except NETWORK_TROUBLE as error:  # the address is not a URL
            raise self._network_failure(attempt, error) from None

    def _meaning(self, reply: Reply) -> Explanation:
        if not reply.redirects:
            return self.explain(reply)
        # Only the host: the rest of the target may hold a ticket or a login.
        target = host_of(reply.headers.get("location", "")) or "another page"
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

    @noted
    def _send_once(
        self,
        send: requests.PreparedRequest,
        attempt: str,
        deadline: Deadline,
        read_timeout: float,
        max_bytes: int,
        *,
        idempotent: bool,
        brings_result: bool,
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
                intake = Intake(_length(response)) if brings_result else None
                body = read_capped(response, max_bytes, attempt, intake)
                return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)
        except gevent.Timeout as passed:
            if passed is not over:  # set by a caller, not here
                raise
            raise self.late(attempt, idempotent=idempotent) from None

    def late(self, attempt: str, *, idempotent: bool = True) -> TimedOutError:
        """The error for a reply that did not come before the deadline."""
        said, advice = silence(host_of(self.base_url), billable=not idempotent)
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
        said, advice = words_for(error, self.base_url, billable=billable)
        return ConnectionFailed(
            f"{attempt} failed",
            redact(said, self._hidden),
            advice.format(settings=self.settings, name=self.name),
            transient=not hopeless(error),
            in_flight=billable and unanswered(error),
        )

    @property
    def _hidden(self) -> tuple[str, ...]:
        """The secrets in every form in which a quoted header or address may show them."""
        credentials = self.headers.get("Authorization", "").rpartition(" ")[2]
        return tuple(form for secret in (*self.secrets, credentials) if secret for form in (secret, quote(secret, "")))


def _passing(status: int) -> bool:
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _named(reply: Reply, retries: Retries) -> float | None:
    """The wait that the service names, at least a second; None where it names none or the request is sent once."""
    return max(1.0, reply.retry_after) if reply.retry_after and retries.delays else None


def _planned(waits: Iterator[float], meaning: Explanation) -> float | None:
    """The next wait of the plan, in the length that the service is known to need; None at its end."""
    planned = next(waits, None)
    return planned and (meaning.retry_after or planned)


def timed_out(attempt: str) -> TimedOutError:
    next_step = "Raise `timeout`, or request fewer or smaller images"
    return TimedOutError(f"{attempt} failed", "the time limit of the job has passed", next_step)


def _length(response: requests.Response) -> int:
    """The length of the body as the server says it; 0 where it does not."""
    said = response.headers.get("content-length", "")
    return min(int(said), MAX_REPLY_BYTES) if said.isdecimal() else 0


def read_capped(response: requests.Response, max_bytes: int, attempt: str, intake: Intake | None = None) -> bytes:
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
        if intake:
            intake.received(body.tell() + len(chunk))
        body.write(chunk)
    return body.getvalue()


def without_nulls[V](values: Mapping[str, V | None]) -> dict[str, V]:
    """A body's values without those that are None: services refuse a null where they take a missing key."""
    return {name: value for name, value in values.items() if value is not None}


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
