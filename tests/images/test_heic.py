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

PHOTO = (ROOT / "tests/fixtures/images/phone.heic").read_bytes()
"""64×48 with a rotation; its encoder stored 64×64 pixels and says which part of them counts."""


def damaged(name: bytes) -> bytes:
    """A file with an item whose type is no text. pi_heif 1.4 ends the process for one of them."""
    at = PHOTO.index(name, PHOTO.index(b"infe"))
    return PHOTO[:at] + b"\xc5" + PHOTO[at + 1 :]


def program(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_the_header_tells_the_size_as_it_is_seen() -> None:
    assert sniff(PHOTO) == Header("image/heic", 48, 64)
    assert decode(PHOTO).size == (48, 64)


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
