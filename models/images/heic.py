"""HEIC files. A damaged one can end the process that decodes it, so `heic_decoder` does that in a process of its own.

The child is started without the module `subprocess`: gevent's works in greenlets only, and images are decoded in threads.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gevent.monkey import get_original

DECODER = Path(__file__).with_name("heic_decoder.py")
_PNG_END = b"IEND\xaeB`\x82"
PNG, FAULT = b"+", b"-"
"""First byte of what the child writes: a PNG file follows, or what is wrong with the file."""

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = (b"avif", b"avis")
_BOX_HEADER, _LONG, _TO_THE_END = 8, 1, 0  # bytes; sizes that mean: it follows behind the type, there is none
_CHUNK = 1024 * 1024
_ENVIRONMENT = ("PYTHON", "LD_", "DYLD_")  # the decoder of a hostile file needs no key of the plugin's owner


_spawn, _wait, _close = (get_original("os", name) for name in ("posix_spawn", "waitpid", "close"))
"""Those of the system: gevent's need the event loop of the main thread, and close a file some time later."""


class HeicError(ValueError):
    """The file cannot be decoded; the text says why."""


def is_heic(data: bytes) -> bool:
    """Whether a file begins like HEIC. `mif1` and `msf1` may be AVIF as well, which has a decoder of its own."""
    if data[4:8] != b"ftyp" or data[8:12] not in _BRANDS:
        return False
    compatible = data[16 : min(int.from_bytes(data[:4]), 256)]
    return not any(brand in compatible for brand in _AVIF_BRANDS)


def heic_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the primary image as the file says them, upright. None where it does not."""
    try:
        properties = list(_properties(data, _inside(data, b"meta", 4)))
    except IndexError:
        return None
    width = height = 0
    for kind, at in properties:
        match kind:
            case b"ispe":
                width, height = _number(data, at + 4), _number(data, at + 8)
            case b"clap" if _number(data, at + 4) and _number(data, at + 12):  # a part of it, as fractions
                width, height = (
                    _number(data, at) // _number(data, at + 4),
                    _number(data, at + 8) // _number(data, at + 12),
                )
            case b"irot" if data[at] % 2:  # in steps of 90 degrees
                width, height = height, width
    return (width, height) if width and height else None


def heic_as_png(data: bytes) -> bytes:
    """The first image of the file as an uncompressed PNG, upright. Call it in a thread. Raises HeicError."""
    reply = _decoded(data)
    if reply.startswith(PNG) and reply.endswith(_PNG_END):
        return reply.removeprefix(PNG)
    said = reply.removeprefix(FAULT).decode("utf-8", "replace") if reply.startswith(FAULT) else ""
    raise HeicError(said or "its decoder crashed or took too long")


def _decoded(data: bytes) -> bytes:
    """All that the child writes; empty where it was killed, by a crash or by the limits that it sets itself."""
    stdin, to_child = os.pipe()
    from_child, stdout = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        child = _spawn(sys.executable, [sys.executable, "-P", str(DECODER)], environment, file_actions=actions)
    except BaseException:
        _close(to_child)
        _close(from_child)
        raise
    finally:
        _close(stdin)
        _close(stdout)
    with open(from_child, "rb") as reply:  # noqa: PTH123 -- no path
        # The child reads everything before it writes.
        with suppress(BrokenPipeError), open(to_child, "wb", buffering=0) as file:  # noqa: PTH123 -- no path
            for at in range(0, len(data), _CHUNK):
                _write(file.fileno(), data[at : at + _CHUNK])
        said = reply.read()
    with suppress(ChildProcessError):  # a handler of SIGCHLD was faster
        _wait(child, 0)
    return said


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _properties(data: bytes, meta: range) -> Iterator[tuple[bytes, int]]:
    """Type and place of the primary image's properties in order (ISO/IEC 14496-12, 8.11.4; 23008-12, 9.3)."""
    primary = _inside(data, b"pitm", 0, meta)
    wide = data[primary.start] > 0
    item = _number(data, primary.start + 4, 4 if wide else 2)
    every = _inside(data, b"iprp", 0, meta)
    known = [(kind, box.start) for kind, box in _boxes(data, _inside(data, b"ipco", 0, every))]
    links = _inside(data, b"ipma", 0, every)
    id_size, index_size = (4 if data[links.start] else 2), (2 if data[links.start + 3] & 1 else 1)
    at = links.start + 8
    for _ in range(_number(data, links.start + 4)):
        owner, count = _number(data, at, id_size), data[at + id_size]
        at += id_size + 1
        if owner == item:
            indexes = (_number(data, at + index_size * n, index_size) for n in range(count))
            highest = 0x7FFF if index_size > 1 else 0x7F  # the highest bit says whether a reader must know the property
            yield from (known[(index & highest) - 1] for index in indexes)
            return
        at += index_size * count


def _inside(data: bytes, kind: bytes, skipped: int, parent: range | None = None) -> range:
    """Where the content of the first box of a kind lies, without its first bytes. Raises IndexError."""
    box = next((box for found, box in _boxes(data, parent or range(len(data))) if found == kind), None)
    if box is None:
        raise IndexError(kind)
    return range(box.start + skipped, box.stop)


def _boxes(data: bytes, parent: range) -> Iterator[tuple[bytes, range]]:
    """The type and the content of each box in a part of the file."""
    at = parent.start
    while at + _BOX_HEADER <= parent.stop:
        size, start = _number(data, at), at + _BOX_HEADER
        if size == _LONG:
            size, start = _number(data, start, 8), start + 8
        end = parent.stop if size == _TO_THE_END else at + size
        yield data[at + 4 : at + 8], range(start, min(end, parent.stop))
        if end <= at:
            return
        at = end


def _number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size])
