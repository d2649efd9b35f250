"""What a HEIC file says about its items, checked before libheif's binding reads it.

The binding (pi_heif 1.4) ends the whole process for an item whose type or content type is no UTF-8: found by `tools.fuzz`.
Boxes: ISO/IEC 14496-12; `infe`: 8.11.6.
"""

import re

_LONG, _TO_THE_END = 1, 0  # of a box: its size follows behind its type, or it has none


def names_are_text(data: bytes) -> bool:
    """Whether the types and names of all items can be read as text. Only the box `meta` is looked at."""
    meta = _meta(data)
    return all(_is_text(meta, found.start() - 4) for found in re.finditer(b"infe", meta))


def _meta(data: bytes) -> bytes:
    """The box `meta` of a file; empty where it has none."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == _LONG:
            size = int.from_bytes(data[at + 8 : at + 16])
        end = len(data) if size == _TO_THE_END else at + size
        if data[at + 4 : at + 8] == b"meta":
            return data[at:end]
        if end <= at:
            break
        at = end
    return b""


def _is_text(meta: bytes, at: int) -> bool:
    """Whether the box `infe` at a place holds text: version and flags, item id, protection, then type and names."""
    size = int.from_bytes(meta[max(0, at) : at + 4])
    ids = 6 if meta[at + 8 : at + 9] >= b"\3" else 4
    try:
        meta[at + 12 + ids : at + size].decode()
    except UnicodeDecodeError:
        return False
    return at >= 0 and size > 12 + ids
