"""AI labels in the metadata of files, read back by exiftool and by Pillow."""

import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from models.images import ai_label, metadata
from models.images.ai_label import EDITED, GENERATED, KEYS, AILabel, carried_over, label_of, labelled
from models.images.codec import fit_file
from models.images.integrity import check_whole
from models.images.metadata import has_credentials, packet_of, png_texts, with_packet
from tests.fakes import image_file, noise


def camera() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    return exif


FILES = {
    "png": image_file(),
    "png with alpha": image_file(mode="RGBA", colour=(1, 2, 3, 100)),
    "jpeg": image_file(kind="JPEG"),
    "jpeg with exif": image_file(kind="JPEG", exif=camera()),
    "webp": image_file(kind="WEBP"),
    "webp with alpha": image_file(kind="WEBP", mode="RGBA", colour=(1, 2, 3, 100)),
    "lossless webp": image_file(kind="WEBP", lossless=True),
    "lossless webp with alpha": image_file(kind="WEBP", mode="RGBA", colour=(1, 2, 3, 100), lossless=True),
    "odd webp": image_file(33, 17, kind="WEBP"),
    "webp with exif": image_file(kind="WEBP", exif=camera()),
}
COMPANY = 'Müller & Söhne "北京" <AI>'

every_file = pytest.mark.parametrize("data", FILES.values(), ids=FILES)


def pixels(data: bytes) -> tuple[str, bytes]:
    image = Image.open(io.BytesIO(data))
    return image.mode, image.tobytes()


def aigc(data: bytes) -> dict[str, str]:
    label = label_of(data)
    assert label is not None
    return label.values


def exiftool(data: bytes, path: Path) -> dict[str, object]:
    """The tags of a file with their groups, and under "Validate" what exiftool says of its structure."""
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not installed (apt-get install libimage-exiftool-perl)")
    path.write_bytes(data)
    return {**asked_of_exiftool(path, "-G1"), "Validate": asked_of_exiftool(path, "-validate")["Validate"]}


def asked_of_exiftool(path: Path, *options: str) -> dict[str, object]:
    command = ["exiftool", "-json", "-a", *options, str(path)]
    (answer,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)  # noqa: S603 -- our own file
    assert isinstance(answer, dict)
    return answer


@every_file
def test_a_label_changes_no_pixel_and_leaves_the_file_whole(data: bytes) -> None:
    made, told = labelled(data, COMPANY, "id-1", edited=False)
    assert check_whole(made) == check_whole(data)
    assert pixels(made) == pixels(data)
    assert told == ()
    assert Image.open(io.BytesIO(made)).info["xmp"] == packet_of(made)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_label_keeps_what_the_camera_wrote(kind: str) -> None:
    marked, _ = labelled(FILES[f"{kind} with exif"], COMPANY, "id-1", edited=False)
    assert Image.open(io.BytesIO(marked)).getexif()[ExifTags.Base.Make] == "camera"
    if kind == "webp":
        assert marked[12:16] == b"VP8X"
        assert marked[20] & 0b1000, "the header does not say that the file has EXIF data"


@every_file
def test_exiftool_reads_exactly_one_label(data: bytes, tmp_path: Path) -> None:
    made, _ = labelled(data, COMPANY, "id-1", edited=False)
    path = tmp_path / f"image.{check_whole(data).kind}"
    found = exiftool(made, path)
    assert found["Validate"] == exiftool(data, path)["Validate"]
    values = json.loads(str(found["XMP-TC260:Aigc"]))
    assert tuple(values) == KEYS
    assert values == {
        "Label": "1",
        "ContentProducer": COMPANY,
        "ProduceID": "id-1",
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    assert found["XMP-iptcExt:DigitalSourceType"] == GENERATED
    assert len([name for name in found if "aigc" in name.lower()]) == 1


@every_file
def test_an_edit_is_labelled_as_a_composite(data: bytes) -> None:
    label = label_of(labelled(data, COMPANY, "id-1", edited=True)[0])
    assert label is not None
    assert label.source_type == EDITED


@every_file
def test_a_services_label_stays_and_we_become_the_propagator(data: bytes) -> None:
    """Labelling twice leaves one label, whose producer is the first."""
    first, _ = labelled(data, "The service", "service-id", edited=False)
    second, _ = labelled(first, COMPANY, "id-1", edited=True)
    assert packet_of(second).count(b"AIGC>") == 2  # one element: its two tags
    assert aigc(second) == {
        "Label": "1",
        "ContentProducer": "The service",
        "ProduceID": "service-id",
        "ReservedCode1": "",
        "ContentPropagator": COMPANY,
        "PropagateID": "id-1",
        "ReservedCode2": "",
    }
    label = label_of(second)
    assert label is not None
    assert label.source_type == GENERATED  # the service knows what it did


OTHERS = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/" dc:format="image/png" '
    """t:AIGC='{"Label":"1","ContentProducer":"service","ProduceID":"7"}'/></rdf:RDF></x:xmpmeta>"""
)


def test_the_other_properties_of_a_packet_stay() -> None:
    made, _ = labelled(with_packet(FILES["jpeg"], OTHERS.encode()), COMPANY, "id-1", edited=False)
    packet = packet_of(made).decode()
    assert 'dc:format="image/png"' in packet
    assert packet.count("AIGC>") == 2
    assert "t:AIGC" not in packet
    assert (aigc(made)["ContentProducer"], aigc(made)["ContentPropagator"]) == ("service", COMPANY)


def test_a_label_in_a_png_text_moves_into_the_packet() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("AIGC", '{"AIGC": {"Label": "1", "ContentProducer": "service", "ProduceID": "7"}}', zip=True)
    texts.add_text("prompt", "a fox")
    made, _ = labelled(image_file(pnginfo=texts), COMPANY, "id-1", edited=False)
    assert png_texts(made).keys() == {"XML:com.adobe.xmp", "prompt"}
    assert aigc(made)["ContentProducer"] == "service"


def comment(encoding: str) -> Image.Exif:
    text = '{"AIGC":{"Label":"1","ContentProducer":"服务","ProduceID":"7"}}'
    lead = b"ASCII\0\0\0" if encoding == "utf-8" else b"UNICODE\0"
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = lead + text.encode(encoding)
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be", "utf-16-le"])
def test_a_label_in_exif_moves_into_the_packet(kind: str, encoding: str) -> None:
    made, _ = labelled(image_file(kind=kind, exif=comment(encoding)), COMPANY, "id-1", edited=False)
    check_whole(made)
    assert (aigc(made)["ContentProducer"], aigc(made)["ContentPropagator"]) == ("服务", COMPANY)
    exif = Image.open(io.BytesIO(made)).getexif()
    assert exif[ExifTags.Base.Make] == "maker"
    left = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert left.partition(b"\0")[2].strip(b" \0") == b""


def test_a_services_signature_is_carried_whole() -> None:
    signed = OTHERS.replace('"ProduceID":"7"', f'"ReservedCode1":"{"s" * 300}"')
    made, _ = labelled(with_packet(FILES["png"], signed.encode()), COMPANY, "id-1", edited=False)
    assert aigc(made)["ReservedCode1"] == "s" * 300


@pytest.mark.parametrize(
    "packet",
    [
        b"not XML",
        b"<x/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>',
        OTHERS.replace('{"Label":"1","ContentProducer":"service","ProduceID":"7"}', "no JSON").encode("utf-16"),
        b"<" * 60_000,
        b" " * 60_000,
    ],
)
def test_a_packet_that_cannot_be_read_is_replaced(packet: bytes) -> None:
    made, _ = labelled(with_packet(FILES["jpeg"], packet), COMPANY, "id-1", edited=False)
    assert aigc(made)["ContentProducer"] == COMPANY
    assert len(packet_of(made)) < 2_000


def with_c2pa(kind: str) -> bytes:
    data, box = FILES[kind], b"\0\0\0\x10jumbc2pa-box"
    if kind == "png":
        chunk = struct.pack(">I", len(box)) + b"caBX" + box + struct.pack(">I", zlib.crc32(b"caBX" + box))
        return data[:33] + chunk + data[33:]
    if kind == "jpeg":
        body = b"JP\0\1\0\0\0\1" + box
        return data[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + data[2:]
    riff = data[12:] + b"C2PA" + struct.pack("<I", len(box)) + box
    return b"RIFF" + struct.pack("<I", len(riff) + 4) + b"WEBP" + riff


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_content_credentials_do_not_outlive_a_change_and_that_is_told(kind: str) -> None:
    signed = with_c2pa(kind)
    assert has_credentials(signed)
    made, told = labelled(signed, COMPANY, "id-1", edited=False)
    assert not has_credentials(made)
    assert told == ("lost its signed Content Credentials, which hold only for unchanged bytes",)
    assert pixels(made) == pixels(FILES[kind])
    assert carried_over(signed, FILES["png"]) == (FILES["png"], told)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("room", [150_000, 60_000, 3_000])
def test_the_label_survives_the_fitting_into_a_line(kind: str, room: int) -> None:
    data, _ = labelled(noise(400, 300, kind=kind), COMPANY, "id-1", edited=False)
    smaller, _ = fit_file(data, room, None, None)
    assert len(smaller) <= room
    assert label_of(smaller) == label_of(data)


def test_a_service_cannot_blow_up_a_label() -> None:
    hostile = OTHERS.replace('"service"', f'"{"x" * 50_000}"')
    made, _ = labelled(with_packet(FILES["jpeg"], hostile.encode()), COMPANY, "id-1", edited=False)
    assert len(aigc(made)["ContentProducer"]) == 1000


def test_an_image_is_not_lost_to_a_label_that_leaves_no_room() -> None:
    long = "".join(f'"{key}":"{"标" * 1000}",' for key in KEYS)
    data = with_packet(noise(400, 300), OTHERS.replace('"Label":"1",', long).encode())
    smaller, told = fit_file(data, 5_000, None, None)
    assert len(smaller) <= 5_000
    assert "lost its AI label for want of room" in told
    assert label_of(fit_file(data, 100_000, None, None)[0]) == label_of(data)


def test_other_formats_take_no_label() -> None:
    with pytest.raises(ValueError, match="only PNG, JPEG and WebP"):
        labelled(image_file(kind="GIF"), COMPANY, "id-1", edited=False)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"Label": "1"}', {"Label": "1"}),
        ('{"AIGC": {"Label": 1, "Other": 2}}', {"Label": "1"}),
        ('{"Label": ""}', {}),
        ('{"Other": "1"}', {}),
        ('{"AIGC": [1]}', {}),
        ('{"AIGC": ["Label"]}', {}),
        ('{"AIGC": "Label"}', {}),
        ("[1]", {}),
        ("{", {}),
        ("", {}),
        (json.dumps({"ProduceID": "x" * 1001}), {"ProduceID": "x" * 1000}),
    ],
)
def test_the_values_of_a_services_label(text: str, values: dict[str, str]) -> None:
    assert ai_label._values(text) == values


@pytest.mark.parametrize(
    ("packet", "value"),
    [
        ("<a:Name>v &amp; w</a:Name>", "v & w"),
        ("<Name> v </Name>", "v"),
        ('<a:Name rdf:resource="http://x/1"/>', "http://x/1"),
        ('<r a:Name="v"/>', "v"),
        ("<r a:Name = 'v'/>", "v"),
        ("<a:Names>v</a:Names>", ""),
        ("<a:Name/>", ""),
        ("", ""),
    ],
)
def test_a_property_is_an_element_or_an_attribute(packet: str, value: str) -> None:
    assert ai_label._property("Name", packet) == value


@pytest.mark.parametrize(
    ("packet", "readable"),
    [(b"<a/>", True), (b"<!-- c --><a/>", True), (b"<!DOCTYPE a><a/>", False), (b"<a>", False), (b"", False)],
)
def test_only_well_formed_packets_without_entities_are_read(packet: bytes, readable: bool) -> None:
    assert ai_label._readable(packet) == (packet.decode() if readable else "")


@pytest.mark.parametrize(("room", "kept"), [(1, True), (0, False)])
def test_a_packet_grows_by_less_than_32000_bytes(room: int, kept: bool) -> None:
    data = with_packet(FILES["png"], OTHERS.encode())
    added = len(packet_of(labelled(data, "", "", edited=False)[0])) - len(OTHERS)
    made, _ = labelled(data, "x" * (32_000 - added - room), "", edited=False)
    assert (b"dc:format" in packet_of(made)) is kept


def test_a_packet_that_would_be_no_xml_with_its_label_is_replaced() -> None:
    data = with_packet(FILES["png"], b"<x><!-- </rdf:RDF> --></x>")
    made, _ = labelled(data, "A--B", "1", edited=False)
    assert packet_of(made).startswith(b"<?xpacket")
    assert aigc(made)["ContentProducer"] == "A--B"


def test_a_label_is_written_as_it_is_read_by_people() -> None:
    assert '"ContentProducer": "北京"'.encode() in AILabel({"ContentProducer": "北京"}).packet
    assert b"DigitalSourceType" not in AILabel({"Label": "1"}).packet
    assert b"AIGC>" not in AILabel(source_type=GENERATED).packet


def test_a_hostile_source_type_is_cut() -> None:
    label = label_of(with_packet(FILES["png"], AILabel(source_type="Algorithmic" + "x" * 2_000).packet))
    assert label == AILabel(source_type="Algorithmic" + "x" * 989)


@pytest.mark.parametrize(("kind", "kept"), [(GENERATED, True), ("http://x/digitalCapture", False)])
def test_only_a_source_type_of_an_algorithm_is_a_label(kind: str, kept: bool) -> None:
    packet = AILabel(source_type=kind).packet
    assert label_of(with_packet(image_file(), packet)) == (AILabel(source_type=kind) if kept else None)


def test_an_edited_image_and_a_generated_one_have_their_source_type() -> None:
    for edited, kind in ((True, EDITED), (False, GENERATED)):
        label = label_of(labelled(image_file(), "P", "1", edited=edited)[0])
        assert label == AILabel(
            {**dict.fromkeys(KEYS, ""), "Label": "1", "ContentProducer": "P", "ProduceID": "1"}, kind
        )


@pytest.mark.parametrize(
    ("content", "flags"), [(b"\x2f\0\0\0\x10", 0x10), (b"\x2f\0\0\0\xef", 0), (b"\x2f\0\0\0\0", 0)]
)
def test_only_a_lossless_webp_says_whether_it_uses_alpha(content: bytes, flags: int) -> None:
    view = memoryview(content)
    assert metadata._webp_flags(metadata._Part(b"VP8L", view, view)) == flags
    assert metadata._webp_flags(metadata._Part(b"VP8 ", view, view)) == 0


def test_flags_of_an_extended_webp_stay_and_its_exif_too() -> None:
    data = FILES["webp with exif"]
    made = labelled(data, "P", "1", edited=False)[0]
    flags = made[20]
    assert made[12:16] == b"VP8X"
    assert flags == data[20] | 0x04
    assert flags & 0x08
    assert metadata.exif_of(made) == metadata.exif_of(data) != b""


@pytest.mark.parametrize(("size", "fits"), [(65_504, True), (65_505, False)])
def test_the_longest_packet_of_a_jpeg(size: int, fits: bool) -> None:
    data, packet = image_file(kind="JPEG"), b"x" * size
    if fits:
        assert packet_of(with_packet(data, packet)) == packet
    else:
        with pytest.raises(ValueError, match=f"a JPEG holds no XMP packet of {size} bytes"):
            with_packet(data, packet)


@pytest.mark.parametrize(("size", "read"), [(256 * 1024 - 22, True), (256 * 1024 - 21, False)])
def test_the_largest_packet_that_is_read(size: int, read: bool) -> None:
    data = with_packet(image_file(), b"x" * size)
    assert (len(packet_of(data)) == size) is read
    assert bool(packet_of(data)) is read


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (b"tEXt", b"a\0caf\xe9", "café"),
        (b"zTXt", b"a\0\0" + zlib.compress(b"caf\xe9"), "café"),
        (b"iTXt", b"a\0\0\0en\0key\0caf\xc3\xa9", "café"),
        (b"iTXt", b"a\0\1\0en\0key\0" + zlib.compress("café".encode()), "café"),
        (b"zTXt", b"a\0\0no zlib", ""),
        (b"iTXt", b"a\0\0\0\0\0\xff", ""),
    ],
)
def test_the_text_of_a_png_chunk(kind: bytes, body: bytes, text: str) -> None:
    view = memoryview(body)
    assert metadata._text(metadata._Part(kind, view, view)) == text
    assert metadata._keyword(metadata._Part(kind, view, view)) == b"a"
    assert metadata._keyword(metadata._Part(b"IDAT", view, view)) == b""


def test_other_formats_take_no_packet() -> None:
    with pytest.raises(ValueError, match="only PNG, JPEG and WebP files take an XMP packet"):
        with_packet(image_file(kind="GIF"), b"x")
    assert (packet_of(image_file(kind="GIF")), png_texts(image_file(kind="JPEG"))) == (b"", {})
    assert not has_credentials(image_file(kind="GIF"))
