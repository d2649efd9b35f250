"""Which files of a finished job are its images. Pure.

Reference: ComfyUI server API, "Outputs of other nodes": every node writes lists of files under keys of its own
(`images`, `gifs`, `audio` ...); videos stand under `images` too, so the name of the file decides.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.wire import FileRef

_IMAGES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_VIDEOS = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v"})
_SOUNDS = frozenset({".flac", ".mp3", ".wav", ".ogg", ".opus", ".m4a"})


@dataclass(frozen=True, slots=True)
class Outputs:
    """The images to fetch and, by kind, what was made besides."""

    pictures: tuple[FileRef, ...]
    notices: tuple[str, ...] = ()


def read_outputs(outputs: Mapping[str, JsonValue], order: Iterable[str]) -> Outputs:
    """Files of one history entry. `order`: the graph's node ids, since the history's own order is not stable.

    Saved images go before previews: those are fetched only when nothing was saved.
    """
    files = [file for node in _ordered(outputs, order) for file in _files(outputs[node])]
    pictures = [file for file in files if _suffix(file) in _IMAGES]
    saved = tuple(file for file in pictures if file.type == "output")
    return Outputs(saved or tuple(pictures), tuple(_besides(files)))


def _ordered(outputs: Mapping[str, JsonValue], order: Iterable[str]) -> list[str]:
    known = [node for node in order if node in outputs]
    return [*known, *sorted(outputs.keys() - set(known))]


def _files(output: JsonValue) -> Iterator[FileRef]:
    kinds = output.values() if isinstance(output, dict) else ()
    for entries in kinds:
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("filename"):
                try:
                    yield FileRef.model_validate(entry)
                except ValidationError:
                    continue  # an extension's own shape: not a file that `/view` could name


def _suffix(file: FileRef) -> str:
    return PurePosixPath(file.filename).suffix.lower()


def _besides(files: Iterable[FileRef]) -> Iterator[str]:
    kept = list(files)
    for kind, suffixes in (("video", _VIDEOS), ("sound", _SOUNDS)):
        names = [file.filename for file in kept if _suffix(file) in suffixes]
        if names:
            yield f"The workflow also made {kind} files, which are not handed on yet: {', '.join(names)}"


_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_WORKFLOW_KEYS = (b"prompt", b"workflow")


def without_workflow(data: bytes) -> bytes:
    """The same image without the graph that ComfyUI writes into it; pixels and other metadata stay untouched."""
    if data.startswith(_PNG):
        return _PNG + b"".join(chunk for chunk in _chunks(data) if not _is_workflow(chunk))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_without_exif(data)
    return data


def _chunks(data: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at:end]
        at = end


def _is_workflow(chunk: bytes) -> bool:
    return chunk[4:8] in _TEXT_CHUNKS and chunk[8:].partition(b"\0")[0] in _WORKFLOW_KEYS


_EXIF_FLAG = 0x08  # of the VP8X chunk, which announces what follows


def _webp_without_exif(data: bytes) -> bytes:
    body = b"".join(_unannounced(chunk) for chunk in _riff_chunks(data) if chunk[:4] != b"EXIF")
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def _riff_chunks(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2  # chunks are padded to even length
        yield data[at:end]
        at = end


def _unannounced(chunk: bytes) -> bytes:
    return chunk[:8] + bytes([chunk[8] & ~_EXIF_FLAG]) + chunk[9:] if chunk[:4] == b"VP8X" else chunk
