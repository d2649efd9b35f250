"""A video of a service as a result: its bytes, the address where its redirects end, and how it is sent there."""

from collections.abc import Iterator

import pytest

from models.backends import images as door
from models.backends import public_adapter
from models.backends.errors import ServerUnavailable
from models.backends.images import ImageFetcher
from models.clock import Deadline
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.scripted import Script, say, scripted_server
from tests.video_files import mp4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A file server that counts as public."""
    monkeypatch.setattr(door, "is_public", lambda host: host == "127.0.0.1")
    monkeypatch.setattr(public_adapter, "is_public_ip", lambda address: address == "127.0.0.1")
    with scripted_server() as script:
        yield script


@pytest.fixture
def fetcher(clock: FakeClock) -> ImageFetcher:
    service = asking.bound("seedance-2.0", {"ark_api_key": MARKER_KEY}, clock).service
    return ImageFetcher(service=service, attempt="Generating", deadline=Deadline.after(clock, 60), kept="24 hours")


def test_a_published_video_has_its_last_address_and_type(server: Script, fetcher: ImageFetcher) -> None:
    """The host follows no redirect, and believes the Content-Type."""
    server.then(say(302, Location="/end.mp4?sign=a%2B"), say(200, mp4(), **{"Content-Type": "video/mp4"}))
    video = fetcher.video(f"{server.url}/a.mp4", 7, image_file())
    assert (video.url, video.sent_as) == (f"{server.url}/end.mp4?sign=a%2B", "video/mp4")
    assert (video.data, video.seed, video.poster) == (mp4(), 7, image_file())
    assert all(MARKER_KEY not in str(seen) for seen in server.seen)


@pytest.mark.parametrize(
    ("body", "what"),
    [(b"", "empty"), (b"<html>busy</html>", "HTML page"), (b'{"error": 1}', "JSON"), (image_file(), "is an image")],
)
def test_what_is_no_video_is_named(server: Script, fetcher: ImageFetcher, body: bytes, what: str) -> None:
    server.then(say(200, body))
    with pytest.raises(ServerUnavailable, match=what):
        fetcher.video(f"{server.url}/a.mp4", None)


def test_a_video_that_is_gone_was_made_nonetheless(server: Script, fetcher: ImageFetcher) -> None:
    server.then(say(403, b"expired"))
    with pytest.raises(ServerUnavailable, match=r"The video was made: .* \(it keeps videos for 24 hours\)") as gone:
        fetcher.video(f"{server.url}/a.mp4", None)
    assert "fetching the video" in str(gone.value)
