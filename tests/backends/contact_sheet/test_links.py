"""Which links of a prompt are followed, and how far."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import responses

from models.backends.contact_sheet import links
from models.backends.contact_sheet.links import LinkFetcher
from models.backends.errors import BadRequest, ConnectionFailed, ImageError
from models.backends.file_links import is_dify_link
from models.backends.http import ONCE, Service
from models.backends.public_adapter import is_public_ip
from models.clock import Deadline, SystemClock
from tests.fakes import FakeClock, image_file
from tests.servers.broken import broken_server

ID = "3f2a9c51-d2e8-4b06-9c51-3f2a9c51d2e8"
SIGNED = "?timestamp=1790000000&nonce=3f2a&sign=abc%3D"


def fetcher(*hosts: str) -> LinkFetcher:
    clock = FakeClock()
    return LinkFetcher(hosts, clock, Deadline.after(clock, 60))


def refusal(address: str, *hosts: str) -> str:
    with pytest.raises(BadRequest) as refused:
        fetcher(*hosts).fetch(address)
    return str(refused.value)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and their addresses; others resolve as ever."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real(known.get(host, host), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize(
    ("address", "dify"),
    [
        (f"http://api:5001/files/tools/{ID}.png{SIGNED}", True),
        (f"https://dify.example/files/{ID}/file-preview{SIGNED}", True),
        (f"https://dify.example/apps/files/{ID}/image-preview{SIGNED}&as_attachment=true", True),
        (f"http://api:5001/files/tools/{ID}.png", False),
        (f"http://api:5001/files/tools/{ID}.png?timestamp=1&nonce=2", False),
        (f"http://api:5001/files/tools/../../admin{SIGNED}", False),
        (f"http://api:5001/files/tools/{ID}.png/admin{SIGNED}", False),
        (f"http://api:5001/admin{SIGNED}&x=/files/tools/{ID}.png", False),
        ("http://[", False),
    ],
)
def test_difys_own_links_are_known_by_their_form(address: str, dify: bool) -> None:
    assert is_dify_link(address) is dify


@pytest.mark.parametrize(
    "address",
    [
        *("http://127.0.0.1/a.png", "http://localhost/a.png", "http://10.0.0.7/a.png", "http://169.254.169.254/latest"),
        *("http://[::1]/a.png", "http://[::ffff:10.0.0.7]/a.png", "http://0.0.0.0/a.png", "http://2130706433/a.png"),
        *("http://192.168.1.20:9000/a.png", "http://100.64.0.1/a.png", "http://user@10.0.0.7/a.png"),
    ],
)
def test_private_addresses_are_not_reached(address: str) -> None:
    assert "is not a public address" in refusal(address)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://a.example/a.png", "a.png", "data:image/png;base64,AA==", "http://["]
)
def test_other_schemes_are_refused(address: str) -> None:
    assert "is not an http(s) URL" in refusal(address)


def test_a_link_without_a_host_names_the_setting() -> None:
    assert refusal(f"/files/tools/{ID}.png{SIGNED}") == "The link: has no host. Set FILES_URL in Dify's environment."


def test_a_public_name_is_followed(names: dict[str, str]) -> None:
    names["cdn.example"] = "93.184.215.14"
    with responses.RequestsMock() as server:
        server.get("https://cdn.example/a.png", body=image_file())
        assert fetcher().fetch("https://cdn.example/a.png") == image_file()


@pytest.mark.parametrize("hosts", [("10.0.0.7",), ("10.0.0.7:9000",), ("other", "10.0.0.7:9000")])
def test_a_host_that_limits_names_is_followed(hosts: tuple[str, ...]) -> None:
    with responses.RequestsMock() as server:
        server.get("http://10.0.0.7:9000/a.png", body=image_file())
        assert fetcher(*hosts).fetch("http://10.0.0.7:9000/a.png") == image_file()


@pytest.mark.parametrize("hosts", [("10.0.0.7:80",), ("10.0.0.70",), ("0.0.7",)])
def test_another_host_or_port_is_not(hosts: tuple[str, ...]) -> None:
    assert "is not a public address" in refusal("http://10.0.0.7:9000/a.png", *hosts)


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "https://cdn.example/b.png"])
def test_redirects_are_not_followed(target: str) -> None:
    with responses.RequestsMock() as server:
        server.get("http://10.0.0.7/a.png", status=302, headers={"Location": target})
        assert "the address redirects, which is not followed here" in refusal("http://10.0.0.7/a.png", "10.0.0.7")
        assert len(server.calls) == 1


def test_a_dead_link_of_dify_says_why() -> None:
    with responses.RequestsMock() as server:
        server.get(f"http://api:5001/files/tools/{ID}.png", status=403)
        said = refusal(f"http://api:5001/files/tools/{ID}.png{SIGNED}")
    assert "the address replied with HTTP 403. Dify's own links work for 300 seconds" in said


def test_a_dify_that_cannot_be_reached_is_not_told_to_have_expired_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionFailed("The link", "no connection", "Check the address")

    monkeypatch.setattr(links, "download", fail)
    for address in (f"http://api:5001/files/tools/{ID}.png{SIGNED}", "https://a.example/1.png"):
        with pytest.raises(ConnectionFailed) as refused:
            fetcher().fetch(address)
        assert refused.value.next_step == "Check the address"


def test_a_file_has_20_seconds_and_24_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(address: str, **options: Any) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace(body=b"x")

    monkeypatch.setattr(links, "download", download)
    one = fetcher("10.0.0.7")
    assert one.fetch("https://a.example/1.png") == one.fetch("http://10.0.0.7/1.png") == b"x"
    assert [options["deadline"].remaining for options in asked] == [20, 20]
    assert [(options["max_bytes"], options["redirects"]) for options in asked] == [(25_165_824, 0)] * 2
    assert [options["allow_private"] for options in asked] == [False, True]
    assert links.LARGEST_TOGETHER == 100_663_296


@pytest.mark.parametrize(("most", "taken"), [(4, True), (3, False)])
def test_the_bytes_of_all_files_count_together(monkeypatch: pytest.MonkeyPatch, most: int, taken: bool) -> None:
    monkeypatch.setattr(links, "LARGEST_TOGETHER", most)
    monkeypatch.setattr(links, "download", lambda *_, **__: SimpleNamespace(body=b"ab"))
    one = fetcher()
    one.fetch("https://a.example/1.png")
    if taken:
        assert one.fetch("https://a.example/2.png") == b"ab"
    else:
        with pytest.raises(BadRequest, match="MiB together"):
            one.fetch("https://a.example/2.png")


def test_bytes_are_limited_for_each_file_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "LARGEST_FILE", 1000)
    monkeypatch.setattr(links, "LARGEST_TOGETHER", 1500)
    with responses.RequestsMock() as server:
        server.get("http://10.0.0.7/large.png", body=bytes(1001))
        server.get("http://10.0.0.7/small.png", body=bytes(900))
        with pytest.raises(ImageError, match="larger than"):
            fetcher("10.0.0.7").fetch("http://10.0.0.7/large.png")
        one = fetcher("10.0.0.7")
        one.fetch("http://10.0.0.7/small.png")
        with pytest.raises(BadRequest, match="MiB together"):
            one.fetch("http://10.0.0.7/small.png")


def test_a_name_that_changes_its_address_after_the_check_is_not_reached() -> None:
    """The name was public when it was checked; the connection leads to this machine. Not a byte is sent."""
    with broken_server() as server:
        clock = SystemClock()
        service = Service(name="the file server", base_url=server.url, clock=clock, public_only=True)
        with pytest.raises(ConnectionFailed):
            service.request("GET", "/a.png", attempt="x", deadline=Deadline.after(clock, 5), retries=ONCE)
        assert server.requests == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("93.184.215.14", True), ("2606:2800:21f::1", True), ("::ffff:8.8.8.8", True)),
        *(("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("224.0.0.1", False), ("fd00::7", False)),
    ],
)
def test_public_ip_addresses(address: str, public: bool) -> None:
    assert is_public_ip(address) is public
