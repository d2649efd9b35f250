"""Input images behind an address: what is fetched, and what the owner's `hosts` allow."""

from collections.abc import Iterator, Sequence

import pytest

from models.backends.errors import BadRequest
from models.pipeline import Asked, Call
from models.request.conversation import MAX_INPUT_BYTES, Conversation, read_part
from tests.asking import bound, image_part
from tests.fakes import image_file
from tests.servers.scripted import Script, raw, say, scripted_server

PNG = image_file()
SIGNED = "/files/8f14e45f-ceea-467f-a1f0-5b6b1c5f3d2a/file-preview?timestamp=1&nonce=2&sign=3"


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted_server() as script:
        yield script.then(say(200, PNG))


def fetched(url: str, hosts: Sequence[str] = ()) -> bytes:
    return read_part(image_part(url=url), bound("preview", {}), hosts).data


def test_without_named_hosts_a_private_address_is_fetched(server: Script) -> None:
    assert fetched(f"{server.url}/a.png") == PNG


def test_with_named_hosts_another_private_address_is_refused_unasked(server: Script) -> None:
    with pytest.raises(BadRequest, match=r"127\.0\.0\.1 is not a public address"):
        fetched(f"{server.url}/a.png", ["files.example.com"])
    assert server.seen == []


@pytest.mark.parametrize("with_port", [True, False])
def test_a_named_host_is_fetched(server: Script, with_port: bool) -> None:
    host = server.url.removeprefix("http://")
    assert fetched(f"{server.url}/a.png", [host if with_port else host.partition(":")[0]]) == PNG


def test_difys_own_link_is_fetched_whatever_the_owner_names(server: Script) -> None:
    assert fetched(server.url + SIGNED, ["files.example.com"]) == PNG


def test_a_redirect_of_a_named_host_is_not_followed(server: Script) -> None:
    server.acts.clear()
    server.then(say(302, "", Location="http://127.0.0.1:9/secret"))
    with pytest.raises(BadRequest, match="the address redirects, which is not followed here"):
        fetched(f"{server.url}/a.png", ["127.0.0.1"])
    assert len(server.seen) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", "gopher://127.0.0.1/", "http:///a.png"])
@pytest.mark.parametrize("hosts", [(), ("127.0.0.1",)])
def test_only_http_is_fetched(url: str, hosts: Sequence[str]) -> None:
    with pytest.raises(BadRequest, match=r"the address is not an http\(s\) URL"):
        fetched(url, hosts)


def test_a_login_in_the_address_is_not_sent(server: Script) -> None:
    fetched(server.url.replace("http://", "http://user:secret@"))
    assert "authorization" not in server.seen[0].headers


def test_a_file_over_the_limit_is_refused(server: Script) -> None:
    server.acts.clear()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_INPUT_BYTES + 1}\r\n\r\n".encode()
    server.then(raw(head, bytes(MAX_INPUT_BYTES + 1)))
    with pytest.raises(BadRequest, match="is larger than 32 MiB"):
        fetched(f"{server.url}/a.png")


def test_the_limits_of_the_form_reach_the_request(server: Script) -> None:
    call = Call.of("preview", {"limits": "hosts files.example.com"}, None)
    with pytest.raises(BadRequest, match="is not a public address"):
        call.generate(Asked(Conversation("in winter", (image_part(url=f"{server.url}/a.png"),)), {}))
    assert server.seen == []
