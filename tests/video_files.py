"""Small videos as file bytes: whole containers, as far as a container can tell, around frames that nobody decodes."""

WORKFLOW = b'{"3": {"class_type": "KSampler"}}'
_EBML, _SEGMENT, _TRACKS, _CLUSTER, _TAGS = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675, 0x1254C367


def mp4(width: int = 1280, height: int = 720, *, frames: bytes = b"frames", brand: bytes = b"isom") -> bytes:
    """Its metadata holds WORKFLOW, as ComfyUI writes it."""
    sound, shown = (box(b"trak", box(b"tkhd", bytes(76) + _fixed(*size))) for size in ((0, 0), (width, height)))
    movie = box(b"moov", box(b"mvhd", bytes(100)) + sound + shown + box(b"udta", box(b"meta", WORKFLOW)))
    return box(b"ftyp", brand + bytes(4) + b"isommp42") + movie + box(b"mdat", frames)


def webm(width: int = 640, height: int = 360, *, kind: bytes = b"webm", live: bool = False) -> bytes:
    """Its metadata holds WORKFLOW. `live`: the lengths of its segment and its frames are not known."""
    pixels = element(0xE0, element(0xB0, width.to_bytes(2)) + element(0xBA, height.to_bytes(2)))
    tracks = element(_TRACKS, element(0xAE, element(0x83, b"\1") + pixels))
    tags = element(_TAGS, WORKFLOW)
    if live:
        frames = _CLUSTER.to_bytes(4) + b"\xff" + b"frames"
        segment = _SEGMENT.to_bytes(4) + b"\x01" + b"\xff" * 7 + tracks + tags + frames
    else:
        segment = element(_SEGMENT, tracks + element(_CLUSTER, b"frames") + tags)
    return element(_EBML, element(0x4282, kind)) + segment


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4) + kind + content


def element(kind: int, content: bytes) -> bytes:
    """With a size of two bytes."""
    return kind.to_bytes((kind.bit_length() + 7) // 8) + (len(content) | 0x4000).to_bytes(2) + content


def _fixed(*sides: int) -> bytes:
    return b"".join((side << 16).to_bytes(4) for side in sides)


EVERY_KIND = {
    "video/mp4": mp4(),
    "video/quicktime": mp4(brand=b"qt  "),
    "video/webm": webm(),
    "video/x-matroska": webm(kind=b"matroska"),
}
