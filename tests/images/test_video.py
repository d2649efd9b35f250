"""Type, size and proof of videos, from their containers alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.images import video
from models.images.sniff import BrokenImageError, is_video
from models.images.video import EXTENSIONS, video_header, without_metadata
from tests.fakes import image_file
from tests.video_files import EVERY_KIND, WORKFLOW, box, element, mp4, webm


@pytest.mark.parametrize(("mime_type", "data"), EVERY_KIND.items(), ids=EVERY_KIND)
def test_type_and_size_come_from_the_container(mime_type: str, data: bytes) -> None:
    header = video_header(data)
    assert header.mime_type == mime_type
    assert (header.width, header.height) == (
        (1280, 720) if mime_type in {"video/mp4", "video/quicktime"} else (640, 360)
    )
    assert mime_type in EXTENSIONS


def test_a_live_recording_does_not_know_its_length() -> None:
    header = video_header(webm(800, 600, live=True))
    assert (header.width, header.height) == (800, 600)


@pytest.mark.parametrize("data", EVERY_KIND.values(), ids=EVERY_KIND)
def test_every_cut_is_noticed(data: bytes) -> None:
    for end in range(12, len(data)):
        with pytest.raises(BrokenImageError):
            video_header(data[:end])


def test_a_video_without_frames_or_without_a_video_track_is_broken() -> None:
    with pytest.raises(BrokenImageError, match="without frames"):
        video_header(mp4(frames=b""))
    with pytest.raises(BrokenImageError, match="no video track"):
        video_header(mp4(0, 0))
    with pytest.raises(BrokenImageError, match="no video track"):
        video_header(webm(0, 0))


def test_large_boxes_and_a_last_box_without_a_size_are_read() -> None:
    whole = mp4()
    at = whole.index(b"mdat") - 4
    large = whole[:at] + (1).to_bytes(4) + b"mdat" + (22).to_bytes(8) + b"frames"
    last = whole[:at] + (0).to_bytes(4) + b"mdat" + b"frames"
    assert video_header(large) == video_header(last) == video_header(whole)
    start, end = whole.index(b"moov") - 4, at
    movie = (1).to_bytes(4) + b"moov" + (end - start + 8).to_bytes(8) + whole[start + 8 : end]
    assert video_header(whole[:start] + movie + whole[end:]) == video_header(whole)
    with pytest.raises(BrokenImageError, match="in the middle of the video"):
        video_header(whole[:at] + (1).to_bytes(4) + b"mdat" + (2**56 + 22).to_bytes(8) + b"frames")


@pytest.mark.parametrize("side", [b"\xb0\x40\x02", b"\xba\x40\x02"])
def test_a_track_needs_both_of_its_sides(side: bytes) -> None:
    whole = webm()
    assert side in whole
    with pytest.raises(BrokenImageError, match="no video track"):
        video_header(whole.replace(side, b"\xbf\x40\x02"))


def test_nothing_behind_the_segment_is_read() -> None:
    assert video_header(webm() + b"\0") == video_header(webm())


@pytest.mark.parametrize("data", [*EVERY_KIND.values(), webm(live=True)])
def test_the_workflow_leaves_a_video_and_nothing_else_changes(data: bytes) -> None:
    clean = without_metadata(data)
    assert WORKFLOW in data
    assert WORKFLOW not in clean
    assert b"frames" in clean
    assert len(clean) == len(data)
    assert video_header(clean) == video_header(data)


def test_images_are_no_videos() -> None:
    assert not is_video(image_file())
    assert not is_video(image_file(kind="AVIF"))
    assert all(map(is_video, EVERY_KIND.values()))


@given(st.sampled_from(sorted(EVERY_KIND)), st.integers(12, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_container_is_read_or_refused(kind: str, at: int, noise: bytes) -> None:
    data = EVERY_KIND[kind]
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        assert video_header(damaged).pixels > 0
        without_metadata(damaged)
    except BrokenImageError:
        pass


def test_a_hostile_number_of_boxes_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="too many"):
        video_header(mp4() + box(b"free", b"") * 100_001)


@pytest.mark.parametrize(
    ("data", "number", "end"),
    [(b"\x81", 0x81, 1), (b"\x40\x05", 0x4005, 2), (b"\x1a\x45\xdf\xa3", 0x1A45DFA3, 4), (b"\x01" + b"\xff" * 7, 2**57 - 1, 8)],
)  # fmt: skip
def test_the_first_bits_of_a_number_tell_its_length(data: bytes, number: int, end: int) -> None:
    assert video._number(data, 0, marked=True) == (number, end)
    assert video._number(b"x" + data, 1, marked=False) == (number - (1 << 7 * end), end + 1)
    for damaged in (data[:-1], b"\0" + data[1:]):
        with pytest.raises(BrokenImageError, match="the file ends in the middle of the video"):
            video._number(damaged, 0, marked=True)


@pytest.mark.parametrize(("version", "read"), [(80, False), (84, True), (96, True)])
def test_a_track_has_one_of_two_lengths(version: int, read: bool) -> None:
    sides = (1280 << 16).to_bytes(4) + (720 << 16).to_bytes(4)
    track = box(b"trak", box(b"tkhd", bytes(version - 8) + sides))
    data = box(b"ftyp", b"isom") + box(b"moov", track) + box(b"mdat", b"f")
    if read:
        assert (video_header(data).width, video_header(data).height) == (1280, 720)
    else:
        with pytest.raises(BrokenImageError, match="no video track"):
            video_header(data)


def test_an_empty_box_of_frames_holds_none_and_a_box_smaller_than_its_head_is_broken() -> None:
    whole = mp4()
    at = whole.index(b"mdat") - 4
    with pytest.raises(BrokenImageError, match="without frames"):
        video_header(whole[:at] + box(b"mdat", b""))
    with pytest.raises(BrokenImageError, match="in the middle"):
        video_header(whole[:at] + (7).to_bytes(4) + b"mdat")


def test_exactly_the_most_parts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_MOST_PARTS", 5)
    assert len(list(video._boxes(box(b"free", b"") * 4, 0, 32))) == 4
    for count in (5, 6):
        with pytest.raises(BrokenImageError, match="too many"):
            list(video._boxes(box(b"free", b"") * count, 0, 8 * count))
    assert len(list(video._elements(element(0xEC, b"") * 4, 0, 12))) == 4
    for count in (5, 6):
        with pytest.raises(BrokenImageError, match="too many"):
            list(video._elements(element(0xEC, b"") * count, 0, 3 * count))
