"""The integrity check: truncated and damaged files of every kind are refused."""

import io
import zlib
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images import codec, integrity
from models.images.integrity import check_whole
from models.images.sniff import BrokenImageError, Header, NotAnImageError
from tests.fakes import image_file, noise

BROKEN = (BrokenImageError, NotAnImageError)


def animated(kind: str, **save: object) -> bytes:
    frames = [Image.frombytes("RGB", (16, 12), Random(seed).randbytes(576)) for seed in range(3)]  # noqa: S311
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], **save)
    return out.getvalue()


PROVEN = {
    "PNG": noise(16, 12),
    "grey PNG": image_file(mode="L", colour=3),
    "palette PNG": image_file(mode="P", colour=3),
    "interlaced 16 bit PNG": image_file(mode="I;16", colour=3),
    "APNG": animated("PNG"),
    "APNG with a default image": animated("PNG", default_image=True),
    "JPEG": noise(16, 12, kind="JPEG"),
    "progressive JPEG": noise(40, 40, kind="JPEG", progressive=True),
    "grey JPEG": image_file(kind="JPEG", mode="L", colour=3),
    "JPEG with restart markers": noise(40, 40, kind="JPEG", restart_marker_blocks=1),
    "WebP": noise(16, 12, kind="WEBP"),
    "WebP with a profile": noise(16, 12, kind="WEBP", icc_profile=b"p" * 99),
}
DECODED = {
    "lossless WebP": noise(16, 12, kind="WEBP", lossless=True),
    "transparent WebP": image_file(kind="WEBP", mode="RGBA", colour=(1, 2, 3, 9)),
    "animated WebP": animated("WEBP"),
    "GIF": noise(16, 12, kind="GIF"),
    "animated GIF": animated("GIF"),
    "MPO": animated("MPO"),
    "BMP": noise(16, 12, kind="BMP"),
    "TIFF": noise(16, 12, kind="TIFF"),
    "AVIF": noise(16, 12, kind="AVIF"),
}
SAMPLES = PROVEN | DECODED


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "decode", lambda _: pytest.fail("it was decoded"))


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_intact_file_passes(kind: str) -> None:
    image = Image.open(io.BytesIO(SAMPLES[kind]))
    mime_type = Image.MIME[image.format or ""].replace("mpo", "jpeg")
    assert check_whole(SAMPLES[kind]) == Header(mime_type, *image.size)


@pytest.mark.parametrize("kind", PROVEN)
@pytest.mark.usefixtures("no_decoding")
def test_an_intact_container_is_not_decoded(kind: str) -> None:
    check_whole(PROVEN[kind])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about a TIFF's tags
@pytest.mark.parametrize("kind", SAMPLES)
def test_no_truncated_file_passes(kind: str) -> None:
    data = SAMPLES[kind]
    for length in range(_last_byte_that_matters(kind, data)):
        with pytest.raises(BROKEN):
            check_whole(data[:length])


def _last_byte_that_matters(kind: str, data: bytes) -> int:
    """The second image of an MPO is a preview; a BMP or TIFF may end with padding."""
    if kind == "MPO":
        return data.index(b"\xff\xd9") + 2
    return len(data) - {"BMP": 3, "TIFF": 3}.get(kind, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.floats(0, 1), st.data()
)
def test_any_truncated_small_image_is_refused(
    width: int, height: int, kind: str, share: float, data: st.DataObject
) -> None:
    whole = data.draw(st.sampled_from([noise(width, height, kind=kind), image_file(width, height, kind=kind)]))
    check_whole(whole)
    with pytest.raises(BROKEN):
        check_whole(whole[: int(share * (len(whole) - 1))])


@given(st.integers(0, len(SAMPLES["PNG"]) - 1), st.integers(0, 7))
def test_a_flipped_bit_of_a_png_is_found(place: int, bit: int) -> None:
    _refuses_flip(SAMPLES["PNG"], place, bit)


@given(st.integers(0, len(SAMPLES["APNG"]) - 1), st.integers(0, 7))
def test_a_flipped_bit_of_any_frame_is_found(place: int, bit: int) -> None:
    _refuses_flip(SAMPLES["APNG"], place, bit)


def _refuses_flip(data: bytes, place: int, bit: int) -> None:
    damaged = bytearray(data)
    damaged[place] ^= 1 << bit
    with pytest.raises(BROKEN):
        check_whole(bytes(damaged))


@pytest.mark.parametrize("kind", ["animated WebP", "animated GIF", "APNG"])
def test_a_damaged_frame_of_an_animation_is_found(kind: str) -> None:
    data = SAMPLES[kind]
    middle = len(data) * 2 // 3
    with pytest.raises(BROKEN):
        check_whole(data[:middle] + data[middle + 200 :])
    if kind != "animated GIF":  # whatever its frames hold, decoders show it
        with pytest.raises(BROKEN):
            check_whole(data[:middle] + b"\0" * 200 + data[middle + 200 :])


def test_a_damaged_page_of_a_tiff_is_found() -> None:
    data = animated("TIFF", compression="tiff_lzw")
    middle = len(data) * 2 // 3
    with pytest.raises(BROKEN):
        check_whole(data[:middle] + b"\0" * 200 + data[middle + 200 :])


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def png(*parts: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, with the right checksums."""
    written = (
        len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4) for kind, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def changed(change: Callable[[bytes, bytes], list[tuple[bytes, bytes]]], kind: str = "PNG") -> bytes:
    return png(*(new for chunk in chunks(SAMPLES[kind]) for new in change(*chunk)))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("no image data", lambda kind, content: [] if kind == b"IDAT" else [(kind, content)]),
        ("empty image data", lambda kind, content: [(kind, b"" if kind == b"IDAT" else content)]),
        ("no zlib stream", lambda kind, content: [(kind, b"\0" * len(content) if kind == b"IDAT" else content)]),
        ("an impossible depth", lambda kind, content: [(kind, content[:8] + b"\7" + content[9:] if kind == b"IHDR" else content)]),
        ("far more pixels", lambda kind, content: [(kind, b"\0\0\x20\0" * 2 + content[8:] if kind == b"IHDR" else content)]),
        ("a palette that is missing", lambda kind, content: [(kind, content[:9] + b"\3" + content[10:] if kind == b"IHDR" else content)]),
        ("a foreign critical chunk", lambda kind, content: [(b"ABCD", b"")] if kind == b"IDAT" else [(kind, content)]),
    ],
)  # fmt: skip
def test_valid_checksums_alone_do_not_pass_a_png(
    what: str, change: Callable[[bytes, bytes], list[tuple[bytes, bytes]]]
) -> None:
    with pytest.raises(BROKEN):
        check_whole(changed(change))


@pytest.mark.usefixtures("no_decoding")
def test_several_chunks_of_image_data_are_one_stream() -> None:
    split = changed(
        lambda kind, content: [(kind, content[:9]), (kind, content[9:])] if kind == b"IDAT" else [(kind, content)]
    )
    check_whole(split)


def test_the_compressed_data_must_be_enough_for_the_rows_of_the_header() -> None:
    """Deflate makes at most 1032 bytes out of one, and each of these rows has three."""
    compressed = sum(len(content) for kind, content in chunks(SAMPLES["PNG"]) if kind == b"IDAT")
    sides = (1).to_bytes(4) + (344 * compressed + 1).to_bytes(4)
    with pytest.raises(BROKEN):
        check_whole(changed(lambda kind, content: [(kind, sides + content[8:] if kind == b"IHDR" else content)]))


@pytest.mark.parametrize("kind", ["PNG", "APNG"])
def test_a_wrong_checksum_is_told_by_its_chunk(kind: str) -> None:
    """Metadata of a still image may be damaged, as decoders show it all the same."""
    whole, text = png(*chunks(SAMPLES[kind])), b"\0\0\0\4teXta\0bcWRNG"
    at = whole.index(b"IDAT") - 4
    damaged = whole[:at] + text + whole[at:-12] + whole[-12:-4] + b"SUMS"
    with pytest.raises(BrokenImageError) as refused:
        check_whole(damaged)
    assert str(refused.value) == f"the file is damaged (the checksum of its {'teXt' if kind == 'APNG' else 'IEND'})"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are given to a decoder, which takes each of them."""
    files: list[bytes] = []
    monkeypatch.setattr(codec, "decode", files.append)
    return files


def test_an_animation_without_any_frame_is_decoded(decoded: list[bytes]) -> None:
    check_whole(changed(lambda kind, content: [] if kind in {b"fcTL", b"fdAT"} else [(kind, content)], "APNG"))
    check_whole(changed(lambda kind, content: [] if kind == b"fcTL" else [(kind, content)], "APNG"))
    assert len(decoded) == 2


@pytest.mark.parametrize(("most", "decodings"), [(4, 0), (3, 1)])
def test_a_file_of_too_many_parts_is_decoded(
    decoded: list[bytes], monkeypatch: pytest.MonkeyPatch, most: int, decodings: int
) -> None:
    assert integrity._MOST_PARTS == 10_000
    monkeypatch.setattr(integrity, "_MOST_PARTS", most)
    check_whole(SAMPLES["palette PNG"])
    assert len(decoded) == decodings


@pytest.mark.parametrize("lost", [b"fcTL", b"fdAT"])
def test_an_animation_without_a_frame_is_refused(lost: bytes, decoded: list[bytes]) -> None:
    last = [content for kind, content in chunks(SAMPLES["APNG"]) if kind == lost][-1]
    check_whole(changed(lambda kind, content: [] if content == last else [(kind, content)], "APNG"))
    assert len(decoded) == 1


def test_wrong_checksums_of_metadata_are_ignored() -> None:
    """Decoders accept such a file, so it is decoded."""
    whole = png(*chunks(SAMPLES["PNG"]))
    text = b"\0\0\0\4teXta\0bcWRNG"
    check_whole(whole[:-12] + text + whole[-12:])


def test_trailing_bytes_are_ignored() -> None:
    for kind in ("PNG", "JPEG", "WebP", "GIF", "APNG"):
        check_whole(SAMPLES[kind] + b"behind the image")


def test_a_huge_frame_in_a_small_gif_is_refused_before_it_is_decoded() -> None:
    data = bytearray(SAMPLES["GIF"])
    frame = data.index(b"\x2c\0\0\0\0\x10\0\x0c\0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(BrokenImageError, match="65535×65535 pixels"):
        check_whole(bytes(data))


def test_a_webp_with_zero_length_is_decoded() -> None:
    with pytest.raises(BROKEN):
        check_whole(SAMPLES["WebP"][:4] + bytes(4) + SAMPLES["WebP"][8:])


@pytest.mark.parametrize("data", [b"\xff\xd8" + b"\xff\xe0\0\2" * 3_000_000, b"\xff\xd8" + b"\xff" * 9_000_000])
def test_a_hostile_jpeg_header_is_refused_early(data: bytes) -> None:
    with pytest.raises(NotAnImageError):
        check_whole(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as above
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_damage_passes_or_is_refused(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(SAMPLES[kind])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        check_whole(bytes(damaged))
    except BROKEN:
        return


@pytest.mark.parametrize(("kind", "critical"), [(b"IDAT", True), (b"Idat", True), (b"iDAT", False), (b"tEXt", False)])
def test_the_first_letter_tells_whether_a_chunk_is_critical(kind: bytes, critical: bool) -> None:
    assert integrity._is_critical(kind) is critical


@pytest.mark.parametrize(
    ("start", "good"), [(b"\x78\x9c", True), (b"\x78\x01", True), (b"\x78\x9d", False), (b"\x79\x9c", False), (b"\x78", False)]
)  # fmt: skip
def test_the_head_of_a_zlib_stream(start: bytes, good: bool) -> None:
    assert integrity._is_zlib(start) is good


def header_of(width: int, height: int, depth: int, colour: int, *rest: int) -> bytes:
    return bytes(16) + width.to_bytes(4) + height.to_bytes(4) + bytes([depth, colour, *(rest or (0, 0, 0))])


@pytest.mark.parametrize(
    ("header", "compressed", "possible"),
    [
        (header_of(1032, 10, 8, 0), 10, True),
        (header_of(1032, 10, 8, 0), 9, False),
        (header_of(1032, 10, 1, 0), 2, True),
        (header_of(1032, 10, 1, 0), 1, False),
        (header_of(1032, 10, 16, 6), 80, True),
        (header_of(1032, 10, 16, 6), 79, False),
        (header_of(1, 1, 8, 2, 0, 0, 1), 9, True),
        (header_of(1, 1, 8, 2, 0, 0, 2), 9, False),
        (header_of(1, 1, 8, 2, 1, 0, 0), 9, False),
        (header_of(1, 1, 8, 2, 0, 1, 0), 9, False),
        (header_of(1, 1, 4, 2), 9, False),
        (header_of(1, 1, 8, 5), 9, False),
        (header_of(1, 1, 8, 3), 9, False),
    ],
)
def test_so_much_compressed_data_can_hold_all_pixels(header: bytes, compressed: int, possible: bool) -> None:
    assert integrity._could_fill(header, [b"IHDR", b"IDAT"], compressed) is possible
    if header[25] == 3:
        assert integrity._could_fill(header, [b"IHDR", b"PLTE", b"IDAT"], compressed)


BITS = {
    (0, 1): 1, (0, 2): 2, (0, 4): 4, (0, 8): 8, (0, 16): 16,  # grey
    (2, 8): 24, (2, 16): 48,
    (3, 1): 1, (3, 2): 2, (3, 4): 4, (3, 8): 8,  # of a palette
    (4, 8): 16, (4, 16): 32,  # grey with alpha
    (6, 8): 32, (6, 16): 64,
}  # fmt: skip
"""Of one pixel, for each kind of colour and depth that PNG knows."""


@pytest.mark.parametrize("colour", range(8))
def test_each_kind_of_colour_has_its_depths_and_its_bytes(colour: int) -> None:
    for depth in range(18):
        header, bits = header_of(1032, 8, depth, colour), BITS.get((colour, depth))
        enough = [
            integrity._could_fill(header, [b"PLTE"], compressed) for compressed in (bits or 1000, (bits or 1) - 1)
        ]
        assert enough == [bits is not None, False], depth


@pytest.mark.parametrize(
    ("tag", "sign", "size", "whole"),
    [
        (0x000000, b"\x9d\x01\x2a", 10, True),
        (0x000020, b"\x9d\x01\x2a", 11, True),
        (0x000040, b"\x9d\x01\x2a", 11, False),
        (0x000001, b"\x9d\x01\x2a", 10, False),
        (0x000000, b"\x9d\x01\x2b", 10, False),
        (0x000000, b"\x9d\x01\x2a", 9, False),
    ],
)
def test_a_lossy_webp_begins_with_a_key_frame(tag: int, sign: bytes, size: int, whole: bool) -> None:
    data = b"xx" + tag.to_bytes(3, "little") + sign + bytes(20)
    assert integrity._vp8(data, (b"VP8 ", 2, 2 + size)) is whole


@pytest.mark.parametrize(("flags", "size"), [(0x00, 0), (0x07, 0), (0x80, 6), (0x81, 12), (0x87, 768)])
def test_the_size_of_a_colour_table(flags: int, size: int) -> None:
    assert integrity._colour_table(bytes([flags]), 0) == size
    with pytest.raises(BrokenImageError):
        integrity._colour_table(bytes([flags]), 1)


def test_blocks_of_a_gif_are_followed_to_their_end() -> None:
    assert integrity._after_sub_blocks(b"\2ab\1c\0x", 0) == 6
    assert integrity._after_sub_blocks(b"\0", 0) == 1
    assert integrity._after_sub_blocks(b"", 0) == 1
    gif = b"GIF89a\1\0\1\0\0\0\0"
    assert not integrity._gif(gif + b"\0\x21\xf9\1a\0\x2c\0\0\0\0\1\0\1\0\0\2\1a\0\x3b")
    tables = b"GIF89a\1\0\1\0\x81\0\0" + b"\x22" * 12
    assert not integrity._gif(tables + b"\x2c\0\0\0\0\1\0\1\0\x80" + b"\x22" * 6 + b"\2\1a\0\x3b")
    with pytest.raises(BrokenImageError, match="no block begins where one should"):
        integrity._gif(gif + b"\x22")
    with pytest.raises(BrokenImageError, match="in the middle of the image"):
        integrity._gif(gif + b"\x21\xf9\0")
