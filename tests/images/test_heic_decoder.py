"""The program that decodes a HEIC file, without a process: its limits and what it writes."""

import io
import resource
import signal
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from models.images import heic_decoder
from models.images.heic import FAULT, PNG, heic_as_png
from models.images.sniff import MAX_PIXELS
from tests.conftest import ROOT

PHOTO = (ROOT / "tests/fixtures/images/phone.heic").read_bytes()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The limits that the program sets itself; here they are only noted."""
    noted: list[object] = []
    monkeypatch.setattr(signal, "alarm", noted.append)
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: noted.append(limit))
    return noted


def answer(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the program writes after it has read two bytes."""
    out = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"ab")))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        heic_decoder.main()
    return out.getvalue()


def decoder_of(monkeypatch: pytest.MonkeyPatch, image: Image.Image) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=lambda: None))
    monkeypatch.setattr(Image, "open", lambda *_, **__: image)


def test_the_program_has_a_minute_and_two_gibibytes_and_leaves_no_core(
    monkeypatch: pytest.MonkeyPatch, limits: list[object]
) -> None:
    decoder_of(monkeypatch, Image.new("RGB", (2, 2)))
    assert answer(monkeypatch).startswith(PNG)
    assert limits == [60, (resource.RLIMIT_AS, (2_147_483_648,) * 2), (resource.RLIMIT_CORE, (0, 0))]


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(("most", "said"), [(100, None), (99, "the image has 20×5 pixels")])
def test_an_image_of_too_many_pixels_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch, most: int, said: str | None
) -> None:
    decoder_of(monkeypatch, Image.new("RGB", (20, 5), "red"))
    monkeypatch.setattr(heic_decoder, "MAX_PIXELS", most)
    written = answer(monkeypatch)
    if said:
        assert written == FAULT + said.encode()
    else:
        monkeypatch.undo()
        assert written[:1] == PNG
        assert Image.open(io.BytesIO(written[1:])).size == (20, 5)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(("error", "said"), [(OSError("bad box"), "bad box"), (MemoryError(), "MemoryError")])
def test_an_error_is_told_by_its_words_or_by_its_name(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(heic_decoder, "_decode", fail)
    assert answer(monkeypatch) == FAULT + said.encode()


def test_as_many_pixels_are_taken_as_of_any_image() -> None:
    assert heic_decoder.MAX_PIXELS == MAX_PIXELS


def test_the_picture_is_not_compressed() -> None:
    assert len(heic_as_png(PHOTO)) > 48 * 64 * 3
