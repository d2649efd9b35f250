"""The images of a finished job: which of its files they are, and the files themselves.

Reference: ComfyUI server API, "Outputs of other nodes": every node writes lists of files under keys of its own
(`images`, `gifs`, `audio` ...); videos stand under `images` too, so the name of the file decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.failures import FAILED
from models.backends.comfyui.graph import RawGraph
from models.backends.comfyui.wire import FileRef, HistoryEntry
from models.backends.errors import ServerUnavailable
from models.clock import Deadline
from models.entities import GeneratedImage
from models.images.codec import decode
from models.images.sniff import BrokenImageError, NotAnImageError, sniff
from models.images.threads import in_thread

_IMAGES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_OTHERS = {
    "video": frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v"}),
    "sound": frozenset({".flac", ".mp3", ".wav", ".ogg", ".opus", ".m4a"}),
}


class DeletedFileError(Exception):
    """The history names a file that the server no longer has."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        super().__init__(filename)


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The image files of a finished job, whether they are one node's, and notices about files of other kinds."""

    images: tuple[FileRef, ...]
    one_batch: bool = True
    notices: tuple[str, ...] = ()


def fetched_images(
    client: ComfyUIClient,
    entry: HistoryEntry,
    graph: RawGraph,
    *,
    seed: int | None,
    keep_workflow: bool,
    deadline: Deadline,
) -> tuple[tuple[GeneratedImage, ...], tuple[str, ...]]:
    """The images of one submission and notices about them. Raises DeletedFileError, ImageError."""
    files = read_outputs(entry.outputs, graph)
    if not files.images:
        raise ServerUnavailable(
            FAILED,
            "; ".join(files.notices) or "the workflow ended without an image",
            "Give the workflow a Save Image node that its result leads to",
        )
    images = []
    for file in files.images:
        data = client.view(file, deadline=deadline)
        if data is None:
            raise DeletedFileError(file.filename)
        images.append(GeneratedImage(data if keep_workflow else without_workflow(data), seed=seed))
    return tuple(images), (*files.notices, *_batch(files, seed), *black_images(images))


def _batch(files: OutputFiles, seed: int | None) -> Iterator[str]:
    if len(files.images) > 1 and files.one_batch and seed is not None:
        yield f"The {len(files.images)} images come from one batch with the seed {seed}"


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
        notices=tuple(_other_files(file for _, file in files)),
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


def _other_files(files: Iterable[FileRef]) -> Iterator[str]:
    kept = list(files)
    for kind, suffixes in _OTHERS.items():
        names = [file.filename for file in kept if _suffix(file) in suffixes]
        if names:
            yield f"The workflow also made {kind} files, which are not handed on yet: {', '.join(names)}"


_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_WORKFLOW_KEYS = (b"prompt", b"workflow")


def without_workflow(data: bytes) -> bytes:
    """The same image without the graph that ComfyUI writes into it; pixels and other metadata stay as they are."""
    if data.startswith(_PNG):
        return _PNG + b"".join(chunk for chunk in _png_chunks(data) if not _is_workflow(chunk))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_without_exif(data)
    return data


def _png_chunks(data: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at:end]
        at = end


def _is_workflow(chunk: bytes) -> bool:
    return chunk[4:8] in _TEXT_CHUNKS and chunk[8:].partition(b"\0")[0] in _WORKFLOW_KEYS


_EXIF_FLAG = 0x08  # of the VP8X chunk, which announces what follows


def _webp_without_exif(data: bytes) -> bytes:
    body = b"".join(_without_exif_flag(chunk) for chunk in _webp_chunks(data) if chunk[:4] != b"EXIF")
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2  # chunks are padded to even length
        yield data[at:end]
        at = end


def _without_exif_flag(chunk: bytes) -> bytes:
    return chunk[:8] + bytes([chunk[8] & ~_EXIF_FLAG]) + chunk[9:] if chunk[:4] == b"VP8X" else chunk
