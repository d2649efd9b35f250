"""Images of realistic size whose first row of pixels says what they were made of. `automatic1111.read_image` reads it.

A megapixel of noise takes a tenth of a second to compress, so that is done once for each size: the first row is a
deflate block of its own in front of the same rest.
"""

import json
import random
import struct
import zlib
from functools import cache

_MOST = 255  # characters of a prompt
_GRAIN = 12  # values of a byte: about 1.3 MB for a megapixel, like a photo


def named_image(width: int, height: int, checkpoint: str, seed: int, prompt: str) -> bytes:
    """A PNG of `width` × `height` pixels, at least 300 wide."""
    text = json.dumps([checkpoint, seed, prompt[:_MOST]]).encode()
    first = b"\0" + (len(text).to_bytes(2, "big") + text).ljust(width * 3, b"\x20")
    rest, packed = _rest(width, height)
    row = zlib.compressobj(1, wbits=-15)
    data = b"\x78\x01" + row.compress(first) + row.flush(zlib.Z_FULL_FLUSH) + packed
    checksum = zlib.adler32(rest, zlib.adler32(first))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data + struct.pack(">I", checksum)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


@cache
def _rest(width: int, height: int) -> tuple[bytes, bytes]:
    """All rows but the first, as they are and compressed."""
    grain = random.Random(width * height).choices(range(100, 100 + _GRAIN), k=width * 3)  # noqa: S311
    rows = bytearray()
    for number in range(height - 1):
        start = number * 7919 % len(grain)
        rows += b"\0" + bytes(grain[start:] + grain[:start])
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return bytes(rows), packer.compress(rows) + packer.flush()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
