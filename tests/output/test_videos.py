"""A video as the host gets it: by an address that it can store it from, as bytes in the line, or as a link."""

import base64
import json

import pytest
from dify_plugin.entities.model.message import TextPromptMessageContent, VideoPromptMessageContent

from models.backends.errors import ServerUnavailable
from models.entities import POSTER, GeneratedImage, ImageResult, Kept, SideFile
from models.output.delivery import MAX_LINE, Content, Delivered, deliver_each, deliver_whole, usage_of
from models.output.structured import OutputOptions, OutputSchema
from models.output.videos import host_url, public_url
from tests.fakes import image_file
from tests.video_files import EVERY_KIND, mp4, webm

URL = "https://ark-content.example/a.mp4?X-Tos-Signature=1"
CDN = "https://cdn.example/a.mp4"
SMALL, LARGE = mp4(), mp4(frames=bytes(5_000_000))
PLAIN = OutputOptions()
KEPT = Kept("p/a.mp4", CDN, {POSTER: "https://cdn.example/a.poster.png"})
KEPT_BY_URL = Kept("p/a.mp4", CDN, by_url=True)


def video(data: bytes = SMALL, **facts: object) -> GeneratedImage:
    return GeneratedImage(data, **facts)  # type: ignore[arg-type]


def published(data: bytes = SMALL, sent_as: str = "video/mp4", **facts: object) -> GeneratedImage:
    return video(data, url=URL, sent_as=sent_as, **facts)


def result_of(*videos: GeneratedImage) -> ImageResult:
    return ImageResult(images=videos, backend="ark", model="seedance-2.0", prompt="a kite")


def whole(*videos: GeneratedImage, options: OutputOptions = PLAIN) -> Delivered:
    return deliver_whole(result_of(*videos), options, duration=1.0)


def contents(*videos: GeneratedImage, options: OutputOptions = PLAIN) -> tuple[Content, ...]:
    """What the host gets, which is the same in a stream."""
    together = whole(*videos, options=options).contents
    apart = deliver_each(result_of(*videos), options, duration=1.0)
    assert together == tuple(content for one in apart for content in one.contents)
    return together


def structured(*names: str) -> OutputOptions:
    return OutputOptions(schema=OutputSchema({name: {} for name in names}))


@pytest.mark.parametrize(("mime_type", "data"), EVERY_KIND.items(), ids=EVERY_KIND)
def test_a_small_video_travels_as_its_own_bytes(mime_type: str, data: bytes) -> None:
    (sent,) = contents(video(data))
    assert isinstance(sent, VideoPromptMessageContent)
    assert (base64.b64decode(sent.base64_data), sent.url, sent.mime_type) == (data, "", mime_type)
    assert sent.filename == f"video.{sent.format}"


def test_the_services_own_address_goes_before_bytes() -> None:
    for data in (SMALL, LARGE):
        (sent,) = contents(published(data))
        assert isinstance(sent, VideoPromptMessageContent)
        assert (sent.url, sent.base64_data, sent.mime_type) == (URL, "", "video/mp4")


def test_the_owners_address_goes_before_the_services() -> None:
    (sent,) = contents(published(LARGE, kept=KEPT_BY_URL))
    assert isinstance(sent, VideoPromptMessageContent)
    assert sent.url == CDN
    (sent,) = contents(published(LARGE, kept=KEPT))
    assert isinstance(sent, VideoPromptMessageContent)
    assert sent.url == URL, "nobody said that Dify reaches the store"


def test_an_address_that_is_not_sent_as_a_video_is_not_stored_from() -> None:
    """The host would name the file by that type, and no player would open it."""
    (sent,) = contents(published(SMALL, sent_as="application/octet-stream"))
    assert isinstance(sent, VideoPromptMessageContent)
    assert (base64.b64decode(sent.base64_data), sent.url) == (SMALL, "")


@pytest.mark.parametrize(
    ("large", "address"),
    [(published(LARGE, sent_as="application/octet-stream"), URL), (video(LARGE, kept=KEPT), CDN)],
)
def test_a_large_video_without_a_usable_address_is_a_link_and_says_what_to_set_up(
    large: GeneratedImage, address: str
) -> None:
    details, link = contents(large, options=OutputOptions(details=True))
    assert isinstance(link, TextPromptMessageContent)
    assert link.data == f"[video.mp4]({address})\n"
    assert any("deliver=url" in notice for notice in json.loads(str(details.data))["notices"])


def test_a_large_video_without_any_address_is_an_error_that_says_where_it_is() -> None:
    with pytest.raises(ServerUnavailable, match=r"holds at most 5 MB.*deliver=url"):
        whole(video(LARGE))
    folder = Kept("p/a.mp4", "")
    with pytest.raises(ServerUnavailable, match=r"It is at p/a\.mp4"):
        whole(video(LARGE, kept=folder))


def test_structured_output_holds_the_videos_facts_and_its_text_is_nothing_but_json() -> None:
    options = structured("image_url", "width", "height", "mime_type")
    delivered = whole(video(LARGE, kept=KEPT), options=options)
    assert delivered.contents == ()
    assert delivered.structured_output == {"image_url": CDN, "width": 1280, "height": 720, "mime_type": "video/mp4"}
    (only,) = deliver_each(result_of(video(LARGE, kept=KEPT)), options, duration=1.0)
    (text,) = only.contents
    assert json.loads(str(text.data)) == delivered.structured_output
    small = whole(video(), options=options).structured_output
    assert small
    assert str(small["image_url"]).startswith("data:video/mp4;base64,")


def test_a_link_that_the_structured_output_has_no_place_for_is_told_by_the_error() -> None:
    with pytest.raises(ServerUnavailable, match=CDN):
        whole(video(LARGE, kept=KEPT), options=structured("width"))


def test_details_tell_size_address_and_poster() -> None:
    details, _ = contents(published(kept=KEPT), options=OutputOptions(details=True))
    told = json.loads(str(details.data))
    assert (told["width"], told["height"], told["image_url"]) == (1280, 720, CDN)
    assert (told["storage_key"], told["poster_url"]) == (KEPT.key, KEPT.side_urls[POSTER])


def test_several_videos_stand_on_lines_of_their_own() -> None:
    first, line, second = contents(published(), video(webm()))
    assert (type(first), type(second)) == (VideoPromptMessageContent, VideoPromptMessageContent)
    assert line == TextPromptMessageContent(data="\n")


def test_an_image_and_a_large_video_share_the_line() -> None:
    delivered = whole(video(mp4(frames=bytes(2_000_000))), GeneratedImage(image_file()))
    assert [content.type.value for content in delivered.contents] == ["video", "text", "image"]
    assert sum(len(content.model_dump_json()) for content in delivered.contents) < MAX_LINE


def test_a_video_is_one_unit_of_usage() -> None:
    result = result_of(video(side_files=(SideFile(POSTER, image_file()),)))
    assert usage_of(result, 2.0).completion_tokens == 1


@pytest.mark.parametrize(
    ("kept", "url", "public"),
    [
        ("https://cdn.example/1", "https://service.example/1", "https://cdn.example/1"),
        ("", "https://service.example/1", "https://service.example/1"),
        ("file:///srv/1", "http://service.example/1", "http://service.example/1"),
        ("", "ftp://service.example/1", None),
        ("", "https://" + "a" * 7992, "https://" + "a" * 7992),
        ("", "https://" + "a" * 7993, None),
        (None, None, None),
    ],
)
def test_the_address_that_can_be_handed_on(kept: str | None, url: str | None, public: str | None) -> None:
    image = GeneratedImage(image_file(), url=url, kept=None if kept is None else Kept("k", kept))
    assert public_url(image) == public


@pytest.mark.parametrize(
    ("image", "address"),
    [
        (GeneratedImage(image_file(), url="https://a/1", sent_as="image/png"), ""),
        (GeneratedImage(mp4(), url="https://a/1", sent_as="video/mp4"), "https://a/1"),
        (GeneratedImage(mp4(), url="https://a/1", sent_as="video/webm"), ""),
        (GeneratedImage(mp4(), url="https://a/" + "1" * 7991, sent_as="video/mp4"), ""),
        (GeneratedImage(mp4(), sent_as="video/mp4"), ""),
        (GeneratedImage(image_file(), kept=Kept("k", "https://c/1", by_url=True)), "https://c/1"),
        (GeneratedImage(image_file(), kept=Kept("k", "https://c/1")), ""),
        (GeneratedImage(image_file(), kept=Kept("k", "", by_url=True), url="https://a/1"), ""),
    ],
)
def test_the_address_that_the_host_gets_in_place_of_the_bytes(image: GeneratedImage, address: str) -> None:
    assert host_url(image) == address
