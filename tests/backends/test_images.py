"""Downloads from untrusted URLs: no credentials, no private addresses unless allowed, no redirect loops."""

from collections.abc import Iterator

import pytest

from models.backends import images as door
from models.backends import public_adapter
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.images import download
from models.backends.reply import Reply
from models.clock import Deadline
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.scripted import Script, say, scripted_server


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


def fetch(url: str, clock: FakeClock, *, allow_private: bool = True, max_bytes: int = 10**6) -> Reply:
    return download(
        url,
        attempt="Fetching the image",
        clock=clock,
        deadline=Deadline.after(clock, 60),
        allow_private=allow_private,
        max_bytes=max_bytes,
    )


def test_an_image_is_downloaded(server: Script, clock: FakeClock) -> None:
    server.then(say(200, image_file()))
    assert fetch(f"{server.url}/a.png", clock).body == image_file()


def test_a_signed_query_is_sent_unchanged(server: Script, clock: FakeClock) -> None:
    fetch(f"{server.url}/a//b.png?Expires=1&Signature=a%2Bb%3D&x=%E7%BA%A2", clock)
    assert server.seen[0].path == "/a//b.png?Expires=1&Signature=a%2Bb%3D&x=%E7%BA%A2"


def test_redirects_are_followed_across_hosts(server: Script, clock: FakeClock) -> None:
    with scripted_server() as other:
        other.then(say(200, b"there"))
        server.then(say(302, Location="/next"), say(307, Location=f"{other.url}/file"))
        assert fetch(server.url, clock).body == b"there"
    assert [seen.path for seen in server.seen] == ["/", "/next"]


def test_a_redirect_loop_ends(server: Script, clock: FakeClock) -> None:
    server.then(*[say(302, Location="/again")] * 20)
    with pytest.raises(BadRequest, match="redirects too often"):
        fetch(server.url, clock)
    assert len(server.seen) == 5


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/x", "http://[", "gopher://h"])
def test_a_redirect_to_another_scheme_is_refused(server: Script, clock: FakeClock, target: str) -> None:
    server.then(say(302, Location=target))
    with pytest.raises(BadRequest, match="not an http"):
        fetch(server.url, clock)


@pytest.mark.parametrize("url", ["", "a.png", "file:///etc/passwd", "data:image/png;base64,AA", "http://[bad"])
def test_only_http_addresses_are_fetched(clock: FakeClock, url: str) -> None:
    with pytest.raises(BadRequest, match="not an http"):
        fetch(url, clock)


def test_a_private_address_is_refused_unless_allowed(server: Script, clock: FakeClock) -> None:
    with pytest.raises(BadRequest, match="not a public address"):
        fetch(server.url, clock, allow_private=False)
    assert server.seen == []


def test_a_redirect_to_a_private_address_is_refused(
    server: Script, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "is_public", lambda host: host == "127.0.0.1")
    monkeypatch.setattr(public_adapter, "is_public_ip", lambda address: address == "127.0.0.1")
    server.then(say(302, Location=server.url.replace("127.0.0.1", "localhost")))
    with pytest.raises(BadRequest, match="localhost is not a public address"):
        fetch(server.url, clock, allow_private=False)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.20", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 -- not bound, only judged
        ("::1", False),
        ("fe80::1", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
        ("2130706433", False),
    ],
)
def test_private_addresses_are_recognized_in_every_spelling(host: str, public: bool) -> None:
    assert door.is_public(host) is public


def test_a_file_over_the_size_limit_is_an_error(server: Script, clock: FakeClock) -> None:
    server.then(say(200, b"x" * 2000))
    with pytest.raises(ServerUnavailable, match="larger than"):
        fetch(server.url, clock, max_bytes=1000)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refused_download_is_not_an_authorization_error(server: Script, clock: FakeClock, status: int) -> None:
    server.then(say(status))
    with pytest.raises(BadRequest, match=f"HTTP {status}"):
        fetch(server.url, clock)


def test_a_login_in_the_address_is_neither_sent_nor_shown(server: Script, clock: FakeClock) -> None:
    server.then(say(404))
    with pytest.raises(BadRequest) as caught:
        fetch(server.url.replace("http://", f"http://someone:{MARKER_KEY}@"), clock)
    assert "authorization" not in server.seen[0].headers
    assert MARKER_KEY not in str(caught.value)
