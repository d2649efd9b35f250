"""Images inside replies and at addresses that replies name."""

import base64
import io
import json
import zipfile
from typing import Any

import pytest
import responses

from models.backends import images as door
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import MAX_REPLY_BYTES, MIB, Service
from models.backends.images import (
    FoundImage,
    ImageFetcher,
    ParsedReply,
    at_origin,
    at_own_host,
    download,
    download_result,
    image_bytes,
    is_public,
    parsed,
    resolved,
    unzipped,
)
from models.backends.reply import Reply
from models.clock import Deadline
from models.entities import POSTER, SideFile
from tests.asking import sent_with
from tests.fakes import FakeClock, image_file
from tests.video_files import mp4

PNG = image_file()
DATA = "data:image/png;base64,AAAA"
LINK = "https://cdn.example/a.png"


def found(body: Any) -> list[FoundImage]:
    return list(parsed(Reply(200, {}, json.dumps(body).encode()), "Trying").images)


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ({"data": [{"b64_json": "AAAA"}]}, [FoundImage("AAAA")]),
        ({"data": [{"b64_json": "AAAA", "revised_prompt": "x"}]}, [FoundImage("AAAA", revised_prompt="x")]),
        ({"data": [{"b64_json": "AAAA", "revised_prompt": ""}]}, [FoundImage("AAAA")]),
        ({"data": [{"b64_json": "AAAA", "revised_prompt": 5}]}, [FoundImage("AAAA")]),
        ({"data": [{"b64_json": "", "url": LINK}]}, [FoundImage(address=LINK)]),
        ({"data": [{"b64_json": None, "url": DATA, "revised_prompt": "x"}]}, [FoundImage(DATA, revised_prompt="x")]),
        ({"data": [{"url": ""}]}, []),
        ({"data": [{"url": "/a.png"}]}, [FoundImage(address="/a.png")]),
        ({"data": [{"url": [LINK, DATA]}]}, [FoundImage(address=LINK), FoundImage(DATA)]),
        ({"images": [{"image_url": {"url": LINK}}]}, [FoundImage(address=LINK)]),
        ({"images": [{"image_url": LINK}]}, [FoundImage(address=LINK)]),
        ({"images": ["http://a.example/1.png", "no address", 5, None]}, [FoundImage(address="http://a.example/1.png")]),
        ({"other": [LINK]}, []),
        ({"output": {"results": [{"result_url": LINK}]}}, [FoundImage(address=LINK)]),
        ({"choices": [{"message": {"content": f"see ![a]({LINK}) and ![b](<{DATA}>)"}}]}, [FoundImage(address=LINK), FoundImage(DATA)]),
        ({"choices": [{"message": {"content": [{"type": "image_url", "image_url": {"url": LINK}}]}}]}, [FoundImage(address=LINK)]),
        ({"choices": [{"message": {"content": f"see {LINK}"}}]}, []),
        ({"choices": [{"message": {"content": 5}}]}, []),
        ({"choices": [{"message": {"content": f"![a]({LINK})", "images": [DATA]}}]}, [FoundImage(DATA)]),
        ([LINK], [FoundImage(address=LINK)]),
    ],
)  # fmt: skip
def test_images_are_found_in_every_usual_place(body: Any, images: list[FoundImage]) -> None:
    assert found(body) == images


@pytest.mark.parametrize(("levels", "count"), [(3, 1), (6, 1), (7, 0)])
def test_images_are_looked_for_eight_levels_deep(levels: int, count: int) -> None:
    body: Any = LINK
    for _ in range(levels):
        body = {"data": body}
    assert len(found({"data": body})) == count


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"data": [{"error": "x"}, {"error": ""}, {"url": LINK}]}, ("x",)),
        ({"images": [{"error": {"code": 1}}]}, ({"code": 1},)),
        ({"data": [{"message": "no", "code": 1}]}, ({"message": "no", "code": 1},)),
        ({"data": [{"message": "no", "code": 1, "url": LINK}]}, ()),
        ({"data": [{"message": 5, "code": 1}, {"message": "no"}, "text"]}, ()),
        ({"output": [{"error": "x"}]}, ()),
        ([{"error": "x"}], ()),
    ],
)
def test_the_errors_of_single_images_are_kept(body: Any, faults: tuple[object, ...]) -> None:
    assert parsed(Reply(200, {}, json.dumps(body).encode()), "Trying").faults == faults


@pytest.mark.parametrize(
    ("body", "seed", "usage"),
    [
        ({"seed": 7, "usage": {"x": 1}, "data": []}, 7, {"x": 1}),
        ({"seed": "7"}, None, None),
        ([{"seed": 7}], None, None),
    ],
)
def test_the_seed_and_the_usage_are_those_of_the_reply(body: Any, seed: int | None, usage: object) -> None:
    answer = parsed(Reply(200, {}, json.dumps(body).encode()), "Trying")
    assert (answer.seed, answer.usage) == (seed, usage)


def test_a_bare_image_and_an_archive_are_read() -> None:
    assert parsed(Reply(200, {}, PNG), "Trying") == ParsedReply((FoundImage(PNG),))
    assert parsed(Reply(200, {}, zipped({"a.png": PNG, "b.png": b"x"})), "Trying") == ParsedReply(
        (FoundImage(PNG), FoundImage(b"x"))
    )
    with pytest.raises(ServerUnavailable, match="was not understood"):
        parsed(Reply(200, {}, b"<html>"), "Trying")


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.mkdir("folder")
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(("count", "read"), [(1, True), (16, True), (17, False)])
def test_an_archive_holds_at_most_sixteen_files(count: int, read: bool) -> None:
    body = zipped({f"{number}.png": b"x" for number in range(count)})
    if read:
        assert unzipped(body, "Trying") == [b"x"] * count
    else:
        with pytest.raises(ServerUnavailable, match="Trying failed: the ZIP is too large"):
            unzipped(body, "Trying")


def test_a_file_of_an_archive_has_at_most_64_mib() -> None:
    assert len(unzipped(zipped({"a": bytes(64 * MIB)}), "Trying")[0]) == 64 * MIB
    with pytest.raises(ServerUnavailable, match="the ZIP is too large"):
        unzipped(zipped({"a": bytes(64 * MIB + 1)}), "Trying")


@pytest.mark.parametrize("body", [b"PK\x03\x04broken", zipped({"a": b"x"})[:-4]])
def test_a_broken_archive_is_told(body: bytes) -> None:
    with pytest.raises(ServerUnavailable, match="the images came in a broken ZIP"):
        parsed(Reply(200, {}, body), "Trying")


@pytest.mark.parametrize(
    "source", [PNG, base64.b64encode(PNG).decode(), f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]
)
def test_an_image_is_bytes_or_base64(source: bytes | str) -> None:
    assert image_bytes(source, attempt="Trying") == PNG


@pytest.mark.parametrize(("source", "why"), [("!!!", "broken base64"), (b"", "empty"), (b"<html>", "HTML")])
def test_a_broken_image_is_told(source: bytes | str, why: str) -> None:
    with pytest.raises(ServerUnavailable, match=f"Trying failed: the service sent a broken image: .*{why}.*Look there"):
        image_bytes(source, attempt="Trying", next_step="Look there")


# --- addresses ---


@pytest.mark.parametrize(
    ("base", "address", "url"),
    [
        ("https://a.example", "/x.png", "https://a.example/x.png"),
        ("https://a.example/sub", "/x.png", "https://a.example/sub/x.png"),
        ("https://a.example/sub", "/sub/x.png", "https://a.example/sub/x.png"),
        ("https://a.example/sub", "//b.example/x.png", "https://b.example/x.png"),
        ("https://a.example/sub", "x.png", "https://a.example/sub/x.png"),
        ("https://a.example/sub", "https://b.example/x.png", "https://b.example/x.png"),
    ],
)
def test_a_path_in_a_reply_lies_below_the_address(base: str, address: str, url: str) -> None:
    assert resolved(base, address) == url


def service(base_url: str = "https://api.example/v1") -> Service:
    return Service(name="Painter", base_url=base_url, clock=FakeClock(), headers={"Authorization": "Bearer secret-key"})


@pytest.mark.parametrize(
    ("url", "base", "path"),
    [
        ("https://user:pw@b.example:8443/a%20b?x=1&y=%2F", "https://b.example:8443", "/a%20b?x=1&y=%2F"),
        ("https://b.example", "https://b.example", "/"),
        ("https://b.example?x=1", "https://b.example", "/?x=1"),
    ],
)
def test_a_request_goes_to_the_origin_of_an_address(url: str, base: str, path: str) -> None:
    host, asked = at_origin(service(), url)
    assert (host.base_url, asked) == (base, path)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://eu.example.ai/x", True),
        ("https://api.example/x", True),
        ("http://api.example/x", True),
        ("http://eu.example.ai/x", False),
        ("https://eu.example.ai.evil.example/x", False),
        ("https://other.example/x", False),
        ("https://api.example:8443/x", False),
    ],
)
def test_the_login_goes_to_the_services_own_hosts_alone(url: str, allowed: bool) -> None:
    own = service()
    if allowed:
        assert at_own_host(own, url, r"[\w-]+\.example\.ai", "Trying") == at_origin(own, url)
    else:
        with pytest.raises(ServerUnavailable, match="Trying failed: it named the foreign address "):
            at_own_host(own, url, r"[\w-]+\.example\.ai", "Trying")


def fetcher(**parts: Any) -> ImageFetcher:
    own = service()
    return ImageFetcher(service=own, attempt="Trying", deadline=Deadline.after(own.clock, 60), **parts)


@responses.activate
@pytest.mark.parametrize(
    ("address", "url", "login"),
    [
        ("https://api.example/a.png", None, True),
        ("https://api.example:8443/a.png", None, False),
        ("http://api.example/a.png", None, False),
        ("https://cdn.example/a.png", "https://cdn.example/a.png", False),
    ],
)
def test_only_the_services_own_origin_gets_the_login(
    monkeypatch: pytest.MonkeyPatch, address: str, url: str | None, login: bool
) -> None:
    monkeypatch.setattr("models.backends.images.is_public", lambda host: host == "cdn.example")
    responses.get(address, body=PNG)
    image = fetcher().image(FoundImage(address=address, revised_prompt="x"), 7)
    assert (image.data, image.url, image.seed, image.revised_prompt) == (PNG, url, 7, "x")
    assert ("Authorization" in responses.calls[0].request.headers) is login


@responses.activate
@pytest.mark.parametrize(("kept", "told"), [("", ""), ("one hour", " (it keeps images for one hour)")])
def test_an_image_that_is_gone_was_made(monkeypatch: pytest.MonkeyPatch, kept: str, told: str) -> None:
    monkeypatch.setattr("models.backends.images.is_public", lambda _: True)
    responses.get(LINK, status=404)
    with pytest.raises(ServerUnavailable) as refusal:
        fetcher(kept=kept).image(FoundImage(address=LINK), None)
    assert str(refusal.value) == (
        "Trying: fetching the image failed: the address replied with HTTP 404. "
        f"The image was made: look for it at the service{told} before generating it again."
    )
    assert not refusal.value.undone


@responses.activate
def test_a_video_is_fetched_with_its_type() -> None:
    responses.get("https://api.example/v1/v.mp4", body=PNG)
    with pytest.raises(ServerUnavailable, match="Trying failed: no video came: the file is an image"):
        fetcher().video("/v.mp4", 7)


@responses.activate
@pytest.mark.parametrize(("redirects", "said"), [(0, "which is not followed here"), (1, "redirects too often")])
def test_redirects_are_followed_so_far(clock: FakeClock, redirects: int, said: str) -> None:
    for number in range(4):
        responses.get(f"https://a.example/{number}", status=302, headers={"Location": f"/{number + 1}"})
    with pytest.raises(BadRequest, match=said):
        fetch(clock, redirects=redirects)
    assert len(responses.calls) == redirects + 1


def fetch(clock: FakeClock, url: str = "https://a.example/0", **parts: Any) -> Reply:
    given = {"attempt": "Trying", "allow_private": True, **parts}
    return download(url, clock=clock, deadline=Deadline.after(clock, 500), **given)


@responses.activate
def test_a_download_waits_a_minute_for_each_part_and_takes_64_mib(clock: FakeClock) -> None:
    responses.get("https://a.example/0", body=bytes(64 * MIB))
    assert len(fetch(clock).body) == 64 * MIB
    assert sent_with(responses.calls[0], "timeout") == (10.0, 60.0)
    responses.replace(responses.GET, "https://a.example/0", body=bytes(64 * MIB + 1))
    with pytest.raises(ServerUnavailable, match="larger than 64 MiB"):
        fetch(clock)


@responses.activate
@pytest.mark.parametrize(("status", "kind"), [(404, BadRequest), (499, BadRequest), (500, ServerUnavailable)])
def test_a_refused_address_is_the_users_or_the_servers_fault(
    clock: FakeClock, status: int, kind: type[Exception]
) -> None:
    responses.get("https://a.example/0", status=status)
    with pytest.raises(kind, match=f"the address replied with HTTP {status}"):
        fetch(clock)
    with pytest.raises(ServerUnavailable, match="Look for it"):
        download_result(
            "ftp://a.example/0",
            attempt="Trying",
            clock=clock,
            deadline=Deadline.after(clock, 60),
            allow_private=True,
            next_step="Look for it",
        )


@pytest.mark.parametrize("url", ["ftp://a.example/x", "https:///x", "a.example/x", "http://[", ""])
def test_only_web_addresses_are_fetched(clock: FakeClock, url: str) -> None:
    with pytest.raises(BadRequest, match=r"the address is not an http\(s\) URL"):
        fetch(clock, url)


@pytest.mark.parametrize(("host", "public"), [("127.0.0.1", False), ("8.8.8.8", True), ("nobody.invalid", True)])
def test_a_name_that_does_not_resolve_is_reported_by_the_request(host: str, public: bool) -> None:
    assert is_public(host) is public


@pytest.mark.parametrize(("levels", "count"), [(3, 1), (4, 0)])
def test_the_parts_of_messages_are_looked_for_eight_levels_deep(levels: int, count: int) -> None:
    body: Any = {"url": LINK}
    for _ in range(levels):
        body = {"content": [body]}
    assert len(found(body)) == count


def test_an_empty_revised_prompt_is_none() -> None:
    assert fetcher().image(FoundImage(PNG, revised_prompt=""), None).revised_prompt is None


@responses.activate
def test_a_video_may_be_larger_than_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.backends.images.is_public", lambda _: True)
    most: list[int] = []
    download = door.download_result

    def noting(url: str, **parts: Any) -> Reply:
        most.append(parts["max_bytes"])
        return download(url, **parts)

    monkeypatch.setattr(door, "download_result", noting)
    responses.get(LINK, body=PNG)
    responses.get("https://cdn.example/v.mp4", body=mp4())
    fetcher().image(FoundImage(address=LINK), None)
    assert fetcher().video("https://cdn.example/v.mp4", 7).seed == 7
    assert most == [64 * MIB, MAX_REPLY_BYTES]


@responses.activate
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_of_a_file_is_followed(clock: FakeClock, status: int) -> None:
    responses.get("https://a.example/0", status=status, headers={"Location": "/1"})
    responses.get("https://a.example/1", body=PNG)
    reply = fetch(clock)
    assert (reply.body, reply.url) == (PNG, "https://a.example/1")


@responses.activate
@pytest.mark.parametrize("redirected", [True, False])
def test_a_services_own_address_may_lead_to_a_file_server(monkeypatch: pytest.MonkeyPatch, redirected: bool) -> None:
    monkeypatch.setattr("models.backends.images.is_public", lambda _: True)
    responses.get("https://api.example/a.png", status=302, headers={"Location": LINK})
    responses.get(LINK, body=PNG)
    if not redirected:
        with pytest.raises(ServerUnavailable, match=r"the address redirects to cdn\.example"):
            fetcher().image(FoundImage(address="https://api.example/a.png"), None)
        return
    image = fetcher(redirected=True).image(FoundImage(address="https://api.example/a.png"), None)
    assert (image.data, image.url) == (PNG, LINK)
    assert ["Authorization" in call.request.headers for call in responses.calls] == [True, False]


@responses.activate
@pytest.mark.parametrize(("address", "results"), [("https://api.example/a.png", [True]), (LINK, [True])])
def test_a_file_is_read_when_there_is_room_for_it(
    monkeypatch: pytest.MonkeyPatch, address: str, results: list[bool]
) -> None:
    monkeypatch.setattr("models.backends.images.is_public", lambda _: True)
    asked: list[object] = []
    request = Service.request

    def noting(service: Service, *place: Any, **parts: Any) -> Reply:
        asked.append(parts["brings_result"])
        return request(service, *place, **parts)

    monkeypatch.setattr(Service, "request", noting)
    responses.get(address, body=PNG)
    fetcher().image(FoundImage(address=address), None)
    assert asked == results
    responses.get("https://a.example/0", body=PNG)
    fetch(FakeClock())
    assert asked == [*results, False], "an input image"


@responses.activate
def test_the_poster_of_a_video_is_a_file_beside_it() -> None:
    responses.get("https://api.example/v.mp4", body=mp4())
    address = "https://api.example/v.mp4"
    assert fetcher().video(address, None, PNG).side_files == (SideFile(POSTER, PNG),)
    assert fetcher().video(address, None).side_files == ()
