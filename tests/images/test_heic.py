"""HEIC files: their size from the header, their pixels from a process that may crash."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import gevent
import psutil
import pytest

from models.images import heic, in_thread
from models.images.codec import decode
from models.images.heic import HeicError, heic_as_png, heic_size, is_heic
from models.images.integrity import check_whole
from models.images.sniff import BrokenImageError, Header, NotAnImageError, sniff
from tests.conftest import ROOT
from tests.fakes import image_file
from tests.video_files import box

PHOTO = (ROOT / "tests/fixtures/images/phone.heic").read_bytes()
"""64×48 with a rotation; its encoder stored 64×64 pixels and says which part of them counts."""


def damaged(name: bytes) -> bytes:
    """A file with an item whose type is no text. pi_heif 1.4 ends the process for one of them."""
    at = PHOTO.index(name, PHOTO.index(b"infe"))
    return PHOTO[:at] + b"\xc5" + PHOTO[at + 1 :]


def program(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4) for value in values)


SIZE = box(b"ispe", numbers(0, 640, 480))
OTHER_SIZE = box(b"ispe", numbers(0, 16, 16))
QUARTER_TURN = box(b"irot", b"\1")


def file_of(*properties: bytes, item: bytes = b"\0\1", links: bytes | None = None, version: int = 0) -> bytes:
    """The header of a file whose primary image has all of the properties, unless `links` (a box `ipma`) says others."""
    every = bytes([len(properties), *range(1, len(properties) + 1)])
    known = box(b"ipco", b"".join(properties)) + box(b"ipma", links or numbers(0, 1) + item + every)
    primary = box(b"pitm", bytes([version, 0, 0, 0]) + item)
    return box(b"ftyp", b"heic" + bytes(4)) + box(b"meta", bytes(4) + primary + box(b"iprp", known))


def test_the_header_tells_the_size_as_it_is_seen() -> None:
    assert sniff(PHOTO) == Header("image/heic", 48, 64)
    assert decode(PHOTO).size == (48, 64)


@pytest.mark.parametrize(
    ("properties", "size"),
    [
        ([SIZE], (640, 480)),
        ([SIZE, box(b"clap", numbers(201, 2, 90, 3))], (100, 30)),
        ([SIZE, box(b"clap", numbers(200, 1, 100, 1)), QUARTER_TURN], (100, 200)),
        # A part that is no number does not count.
        ([SIZE, box(b"clap", numbers(200, 0, 100, 1))], (640, 480)),
        ([SIZE, box(b"clap", numbers(200, 1, 100, 0))], (640, 480)),
        ([SIZE, box(b"irot", b"\0")], (640, 480)),
        ([SIZE, box(b"irot", b"\2")], (640, 480)),
        ([SIZE, box(b"irot", b"\3")], (480, 640)),
        ([box(b"ispe", numbers(0, 640, 0))], None),
        ([box(b"ispe", numbers(0, 0, 480))], None),
        ([QUARTER_TURN], None),
        ([], None),
    ],
)
def test_a_part_and_quarter_turns_change_the_size(properties: list[bytes], size: tuple[int, int] | None) -> None:
    assert heic_size(file_of(*properties)) == size


TURNED = (OTHER_SIZE, SIZE, QUARTER_TURN)


@pytest.mark.parametrize(
    ("item", "version", "links"),
    [
        # Flags and version, the number of items; then for each its number, how many properties it has, and which.
        (b"\0\7", 0, numbers(0, 1) + b"\0\7\2\2\3"),
        (b"\0\7", 0, numbers(0, 1) + b"\0\7\2\x82\x83"),
        (b"\0\7", 0, numbers(0, 2) + b"\0\6\1\1" + b"\0\7\2\2\3"),
        (b"\0\7", 0, numbers(0, 3) + b"\0\5\0" + b"\0\6\2\1\1" + b"\0\7\2\2\3" + b"\0\7\1\1"),
        (b"\0\7", 0, numbers(1, 1) + b"\0\7\2\0\2\0\3"),
        (b"\0\7", 0, numbers(1, 2) + b"\0\6\2\0\1\0\1" + b"\0\7\2\x80\2\x80\3"),
        (b"\0\7", 0, numbers(1 << 24, 1) + b"\0\0\0\7\2\2\3"),
        (b"\0\1\0\7", 1, numbers(1 << 24, 2) + b"\0\0\0\7\1\1" + b"\0\1\0\7\2\2\3"),
    ],
)
def test_the_size_is_that_of_the_primary_image(item: bytes, version: int, links: bytes) -> None:
    assert heic_size(file_of(*TURNED, item=item, version=version, links=links)) == (480, 640)


def test_a_primary_image_without_properties_tells_no_size() -> None:
    assert heic_size(file_of(*TURNED, item=b"\0\7", links=numbers(0, 1) + b"\0\6\2\2\3")) is None
    assert heic_size(file_of(*TURNED, links=numbers(0, 1) + b"\0\1\1\4")) is None


def test_a_box_may_say_its_size_in_eight_bytes_or_reach_to_the_end() -> None:
    whole = file_of(SIZE)
    at = whole.index(b"meta") - 4
    inside = whole[at + 8 :]
    before, behind = whole[:at] + box(b"free", b""), box(b"meta", bytes(20))
    assert heic_size(before + numbers(1) + b"meta" + (len(inside) + 16).to_bytes(8) + inside + behind) == (640, 480)
    assert heic_size(before + numbers(0) + b"meta" + inside) == (640, 480)


@pytest.mark.parametrize("name", [b"Exif", b"hvc1"])
def test_a_file_that_ends_its_decoder_is_called_damaged(name: bytes) -> None:
    with pytest.raises(BrokenImageError, match="the file is damaged"):
        in_thread(check_whole, damaged(name))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGALRM])
def test_a_decoder_that_is_killed_is_a_damaged_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: int) -> None:
    killed = program(tmp_path / "decoder.py", f"import os\nos.kill(os.getpid(), {int(end)})\n")
    monkeypatch.setattr(heic, "DECODER", killed)
    with pytest.raises(BrokenImageError, match=r"the file is damaged \(its decoder crashed or took too long\)"):
        in_thread(decode, PHOTO)


def test_a_decoder_that_ends_in_the_middle_of_its_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(image_file(64, 48))
    text = f"import sys\nsys.stdout.buffer.write(b'+' + open({str(picture)!r}, 'rb').read()[:-20])\n"
    monkeypatch.setattr(heic, "DECODER", program(tmp_path / "decoder.py", text))
    with pytest.raises(BrokenImageError):
        in_thread(decode, PHOTO)


def test_the_other_greenlets_go_on_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The child waits until a greenlet of this process lets it end."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    text = f"import sys\nsys.stdin.buffer.read()\nopen({str(gate)!r}).read()\nsys.stdout.write('-no')\n"
    monkeypatch.setattr(heic, "DECODER", program(tmp_path / "decoder.py", text))
    with gevent.Timeout(60):
        waiting = gevent.spawn(_outcome)
        gevent.sleep(0.01)
        assert not waiting.ready()
        in_thread(gate.write_text, "go")
        assert waiting.get() == "no"


def _outcome() -> str:
    try:
        in_thread(heic_as_png, PHOTO * 100)  # more than a pipe holds
    except HeicError as error:
        return str(error)
    return "a picture"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


END = b"IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"-no such box", "no such box"),
        (b"-\xff", "\ufffd"),
        (b"-", "its decoder crashed or took too long"),
        (b"", "its decoder crashed or took too long"),
        (b"+cut off", "its decoder crashed or took too long"),
        (b"noise" + END, "its decoder crashed or took too long"),
    ],
)
def test_only_a_whole_picture_is_taken_from_the_decoder(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, said: str
) -> None:
    monkeypatch.setattr(heic, "_decoded", lambda _: reply)
    with pytest.raises(HeicError) as refused:
        heic_as_png(PHOTO)
    assert str(refused.value) == said
    monkeypatch.setattr(heic, "_decoded", lambda _: b"+picture" + END)
    assert heic_as_png(PHOTO) == b"picture" + END


def test_no_pipe_is_left_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(heic, "_spawn", refuse)
    before = _open_files()
    with pytest.raises(BlockingIOError):
        heic_as_png(PHOTO)
    assert _open_files() == before


def test_what_the_decoder_writes_beside_its_answer_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "import os\nos.write(2, b'a warning')\nos.write(1, b'-no')\n"
    monkeypatch.setattr(heic, "DECODER", program(tmp_path / "decoder.py", text))
    with pytest.raises(HeicError, match=r"^no$"):
        heic_as_png(PHOTO)
    assert capfd.readouterr() == ("", "")


def test_no_child_and_no_pipe_is_left() -> None:
    in_thread(decode, PHOTO)
    process = psutil.Process()
    before, children = _open_files(), process.children()
    for data in (PHOTO, damaged(b"hvc1"), damaged(b"Exif")):
        with suppress(BrokenImageError):
            in_thread(decode, data)
    assert _open_files() == before
    assert process.children() == children


def test_the_decoder_gets_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLUGIN_KEY", "secret")
    text = "import os\nprint('-' + ' '.join(os.environ), end='')\n"
    monkeypatch.setattr(heic, "DECODER", program(tmp_path / "decoder.py", text))
    with pytest.raises(HeicError) as error:
        heic_as_png(PHOTO)
    assert "PLUGIN_KEY" not in str(error.value)


@pytest.mark.parametrize("damage", [b"\0\0\0\0", b"\0\0\0\x0c", b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("box", [b"meta", b"pitm", b"iprp", b"ipco", b"ispe", b"ipma"])
def test_a_box_of_an_impossible_size_is_refused_or_read(box: bytes, damage: bytes) -> None:
    at = PHOTO.index(box) - 4
    with suppress(NotAnImageError):
        assert sniff(PHOTO[:at] + damage + PHOTO[at + 4 :]).mime_type == "image/heic"


def test_every_cut_off_header_is_read_or_refused() -> None:
    began = time.monotonic()
    for length in range(len(PHOTO)):
        with suppress(NotAnImageError):
            sniff(PHOTO[:length])
    assert time.monotonic() - began < 30


def test_avif_has_a_decoder_of_its_own() -> None:
    assert not is_heic(image_file(kind="AVIF"))
    assert not is_heic(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf")
    assert is_heic(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
def test_only_the_brands_in_the_first_box_count(brand: bytes) -> None:
    head = b"ftyp" + brand + bytes(4)
    assert not is_heic(b"\0\0\0\x18" + head + b"avismif1")
    assert is_heic(b"\0\0\0\x14" + head + b"mif1avif")
    assert not is_heic(b"\0\0\4\0" + head + bytes(236) + b"avif")
    assert is_heic(b"\0\0\4\0" + head + bytes(237) + b"avif")  # farther than anybody writes them
    assert not is_heic(b"\0\0\0\x14" + b"ftypisom" + bytes(4) + brand)
    assert not is_heic(b"\0\0\0\x14" + b"free" + brand + bytes(8))


def test_a_file_without_properties_tells_no_size() -> None:
    assert heic_size(b"\0\0\0\x10ftypheic\0\0\0\0") is None


def test_without_a_part_to_be_shown_the_size_is_that_of_the_whole() -> None:
    at = PHOTO.index(b"ispe") + 8
    sides = {int.from_bytes(PHOTO[at : at + 4]), int.from_bytes(PHOTO[at + 4 : at + 8])}
    assert set(heic_size(PHOTO.replace(b"clap", b"free")) or ()) == sides


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_of_no_pixels_is_no_size(side: int) -> None:
    at = PHOTO.index(b"clap") + 4 + 8 * side
    assert heic_size(PHOTO) is not None
    assert heic_size(PHOTO[:at] + bytes(4) + PHOTO[at + 4 :]) is None
