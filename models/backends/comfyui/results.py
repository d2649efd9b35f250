"""The images of a finished job: which of its files they are, and what is done with their bytes.

Reference: ComfyUI server API, "Outputs of other nodes": every node writes lists of files under keys of its own
(`images`, `gifs`, `audio` ...); videos stand under `images` too, so the name of the file decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.client import FileRef
from models.entities import GeneratedImage
from models.images import in_thread
from models.images.codec import decode
from models.images.integrity import png_chunks, webp_chunks
from models.images.sniff import BrokenImageError, NotAnImageError, sniff

_IMAGES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_OTHERS = {
    "video": frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v"}),
    "sound": frozenset({".flac", ".mp3", ".wav", ".ogg", ".opus", ".m4a"}),
}


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The image files of a finished job, whether they are one node's, and notices about files of other kinds."""

    images: tuple[FileRef, ...]
    one_batch: bool = True
    notices: tuple[str, ...] = ()


# An image of one colour is a small file: only what can be black is decoded.
_BLACK_PIXELS_PER_BYTE = 50
_SMALL_FILE = 20_000  # bytes


def black_images(images: Sequence[GeneratedImage]) -> Iterator[str]:
    """A notice about images without any light, which ComfyUI makes of numbers that overflowed and calls a success."""
    black = sum(_is_black(image) for image in images)
    if black:
        subject = "The image is" if len(images) == 1 else f"{black} of the {len(images)} images are"
        yield (
            f"{subject} completely black: the model or the VAE probably overflowed in half precision. Start ComfyUI "
            "with --fp32-vae or --force-upcast-attention, or use another VAE, sampler or scheduler"
        )


def _is_black(image: GeneratedImage) -> bool:
    try:
        if len(image.data) > sniff(image.data).pixels / _BLACK_PIXELS_PER_BYTE + _SMALL_FILE:
            return False
        return in_thread(lambda: decode(image.data).convert("L").getextrema()[1] == 0)
    except (NotAnImageError, BrokenImageError):  # the proof that every image is whole comes later and says it better
        return False


def read_outputs(outputs: Mapping[str, JsonValue], order: Iterable[str]) -> OutputFiles:
    """The files of one history entry. `order`: the graph's node ids, since the history's own order is not stable.

    Saved images go before previews, which are fetched only when nothing was saved.
    """
    files = [(node, file) for node in _ordered(outputs, order) for file in _files(outputs[node])]
    images = [(node, file) for node, file in files if _suffix(file) in _IMAGES]
    shown = [(node, file) for node, file in images if file.type == "output"] or images
    return OutputFiles(
        images=tuple(file for _, file in shown),
        one_batch=len({node for node, _ in shown}) == 1,
        notices=tuple(_other_files([file for _, file in files])),
    )


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


def _other_files(files: Sequence[FileRef]) -> Iterator[str]:
    for kind, suffixes in _OTHERS.items():
        names = [file.filename for file in files if _suffix(file) in suffixes]
        if names:
            yield f"The workflow also made {kind} files, which are not handed on yet: {', '.join(names)}"


def without_workflow(data: bytes) -> bytes:
    """The same image without the graph that ComfyUI writes into it; pixels and other metadata stay as they are."""
    try:
        match sniff(data).mime_type:
            case "image/png":
                return data[:8] + b"".join(_png_without_workflow(data))
            case "image/webp":
                body = b"".join(_webp_without_exif(data))
                return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
            case _:
                return data
    except (NotAnImageError, BrokenImageError):  # the proof that every image is whole comes later and says it better
        return data


_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_WORKFLOW_KEYS = (b"prompt", b"workflow")
_EXIF_FLAG = 0x08  # of the VP8X chunk, which announces what follows


def _png_without_workflow(data: bytes) -> Iterator[bytes]:
    for kind, start, end in png_chunks(data):
        if kind not in _TEXT_CHUNKS or data[start:end].partition(b"\0")[0] not in _WORKFLOW_KEYS:
            yield data[start - 8 : end + 4]


def _webp_without_exif(data: bytes) -> Iterator[bytes]:
    for kind, start, end in webp_chunks(data):
        chunk = data[start - 8 : end + end % 2]
        if kind == b"VP8X":
            yield chunk[:8] + bytes([chunk[8] & ~_EXIF_FLAG]) + chunk[9:]
        elif kind != b"EXIF":
            yield chunk
