"""What a job gave: the images of a finished one, and what a refused or failed one means for the user.

Every node writes lists of files under keys of its own (`images`, `gifs`, `audio` ...); videos stand under `images` too,
so the name of the file decides. Every sentence about a failure names the node (id, class, title), keeps the server's
words and says what to do (`refusals.yaml`), without tracebacks and inputs, which show paths of the server and whole
tensors. Reference: ComfyUI server API, "Outputs of other nodes", "POST /prompt", 400, and "Errors while running".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.client import (
    INTERRUPTED,
    Accepted,
    FileRef,
    NodeFaults,
    Refused,
    RunError,
    RunStatus,
    ValidationFault,
)
from models.backends.comfyui.graph import Graph, Node, RawGraph, folder_of, package_of
from models.backends.errors import BadRequest, ImageError, ServerUnavailable, names_like
from models.backends.refusals import Fault, RefusalTable
from models.entities import GeneratedImage
from models.images import in_thread
from models.images.codec import decode
from models.images.integrity import png_chunks, webp_chunks
from models.images.sniff import BrokenImageError, NotAnImageError, is_video, sniff
from models.images.video import without_metadata
from models.settings import Access

_IMAGES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv"})
_OTHERS = {
    "video": frozenset({".avi"}),
    "sound": frozenset({".flac", ".mp3", ".wav", ".ogg", ".opus", ".m4a"}),
}


class NamedFile(Protocol):
    """A file of a job; `saved`: it stays on the server, unlike a preview."""

    @property
    def filename(self) -> str: ...
    @property
    def saved(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class OutputFiles[F: NamedFile]:
    """The images and videos of a finished job, whether they come from one node, and notices about files of other kinds."""

    images: tuple[F, ...]
    one_batch: bool = True
    notices: tuple[str, ...] = ()


# An image of one colour is a small file: only what can be black is decoded.
_BLACK_PIXELS_PER_BYTE = 50
_SMALL_FILE = 20_000  # bytes


def black_images(images: Sequence[GeneratedImage]) -> Iterator[str]:
    """A notice about completely black images, which ComfyUI returns as a success after a numeric overflow."""
    if black := sum(map(_is_black, images)):
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
    except (NotAnImageError, BrokenImageError):  # a later check reports broken images
        return False


def read_outputs(outputs: Mapping[str, JsonValue], order: Iterable[str]) -> OutputFiles[FileRef]:
    """The files of one history entry. `order`: the graph's node ids, since the history's own order is not stable."""
    return chosen_files([(node, file) for node in ordered(outputs, order) for file in _files(outputs[node])])


def chosen_files[F: NamedFile](files: Sequence[tuple[str, F]]) -> OutputFiles[F]:
    """What is delivered of a job's files, each beside the node that made it.

    Saved images go before previews, which are fetched only when nothing was saved.
    """
    images = [(node, file) for node, file in files if _suffix(file) in _IMAGES | _VIDEOS]
    shown = [(node, file) for node, file in images if file.saved] or images
    return OutputFiles(
        images=tuple(file for _, file in shown),
        one_batch=len({node for node, _ in shown}) == 1,
        notices=tuple(_other_files([file for _, file in files])),
    )


def ordered(nodes: Iterable[str], order: Iterable[str]) -> list[str]:
    """The nodes in the order of their graph, others last."""
    found = set(nodes)
    known = [node for node in order if node in found]
    return [*known, *sorted(found - set(known))]


def _files(output: JsonValue) -> Iterator[FileRef]:
    kinds = output.values() if isinstance(output, dict) else ()
    for entries in kinds:
        for entry in entries if isinstance(entries, list) else ():
            try:
                yield FileRef.model_validate(entry)
            except ValidationError:
                continue  # an extension's own format: not a file for `/view`


def _suffix(file: NamedFile) -> str:
    return PurePosixPath(file.filename).suffix.lower()


def _other_files(files: Sequence[NamedFile]) -> Iterator[str]:
    for kind, suffixes in _OTHERS.items():
        if names := [file.filename for file in files if _suffix(file) in suffixes]:
            yield f"The workflow also made {kind} files, which are not delivered: {', '.join(names)}"


def without_workflow(data: bytes) -> bytes:
    """The same file without the graph that ComfyUI writes into it; pixels and an image's other metadata stay as they are."""
    try:
        if is_video(data):
            return without_metadata(data)
        match sniff(data).mime_type:
            case "image/png":
                return data[:8] + b"".join(_png_without_workflow(data))
            case "image/webp":
                body = b"".join(_webp_without_exif(data))
                return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
            case _:
                return data
    except (NotAnImageError, BrokenImageError):  # a later check reports broken images
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
        if kind == b"VP8X" and end > start:
            yield chunk[:8] + bytes([chunk[8] & ~_EXIF_FLAG]) + chunk[9:]
        elif kind != b"EXIF":
            yield chunk


# --- failures ---

REFUSED = "ComfyUI refused the workflow"
FAILED = "Generating with ComfyUI failed"
TABLE = RefusalTable.beside(__file__)
_SHOWN_FAULTS = 3

type Choices = Callable[[str, str], Sequence[str]]
"""(node class, input name) → the server's choices; empty if they are unknown."""
type ParameterNames = Mapping[tuple[str, str], str]
"""(node id, input name) → the parameter that sets it, which users know rather than the input."""


class DeletedFileError(ServerUnavailable):
    def __init__(self, filename: str) -> None:
        self.filename = filename
        said = f"{filename} was made and then deleted on the server"
        super().__init__(FAILED, said, "Try again with another seed")


@dataclass(frozen=True, slots=True)
class _LocatedFault:
    node: Node
    fault: ValidationFault
    parameter: str

    @property
    def sentence(self) -> str:
        return f"{self.node.described}: {_words(self.fault)}"


def refusal(reply: Refused, raw: RawGraph, choices: Choices, parameters: ParameterNames) -> BadRequest:
    graph = Graph.of(raw)
    if missing := _missing_class(reply.error, graph):
        install = f"Install {package_of(missing.class_type) or 'the extension that brings it'}"
        next_step = f"{install} on the ComfyUI server (ComfyUI-Manager, Install Missing Custom Nodes) and restart it"
        return BadRequest(REFUSED, f"the server does not have {missing.described}", next_step)
    faults = _located(reply.node_errors, graph, parameters)
    if not faults:
        return BadRequest(REFUSED, _words(reply.error), _table_advice(reply.error))
    said = "; ".join(fault.sentence for fault in faults[:_SHOWN_FAULTS])
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return BadRequest(REFUSED, said + more, _advice(faults[0], choices))


def dropped_outputs(reply: Accepted, raw: RawGraph) -> list[str]:
    """Notices about the parts of the graph that the server left out although it accepted the rest."""
    faults = _located(reply.node_errors, Graph.of(raw), {})
    return [f"The server left out a part of the workflow: {fault.sentence}" for fault in faults]


def failed_run(status: RunStatus, raw: RawGraph) -> ImageError:
    if status.last == INTERRUPTED:
        next_step = "Run it again unless it was stopped on purpose"
        return ServerUnavailable(FAILED, f"interrupted on the server at {_place(status.error, raw)}", next_step)
    return failed_node(status.error, raw)


def failed_node(error: RunError, raw: RawGraph) -> ImageError:
    where, words = _place(error, raw), error.exception_message.strip() or error.exception_type
    said = f"{where}: {words or 'failed without a message'}"
    meaning = TABLE.explain(Fault(said=said, codes=(error.exception_type, "failed_run")), Access())
    return meaning.error(FAILED, said, meaning.next_step)


def _place(error: RunError, raw: RawGraph) -> str:
    node = Graph.of(raw).nodes.get(error.node_id) or Node(error.node_id, error.node_type, {})
    return node.described if error.node_id else "the job"


def _located(faults: Mapping[str, NodeFaults], graph: Graph, parameters: ParameterNames) -> list[_LocatedFault]:
    return [
        _LocatedFault(
            node=graph.nodes.get(node_id) or Node(node_id, node.class_type, {}),
            fault=fault,
            parameter=parameters.get((node_id, fault.extra_info.input_name), fault.extra_info.input_name),
        )
        for node_id, node in faults.items()
        for fault in node.errors
    ]


def _words(fault: ValidationFault) -> str:
    return f"{fault.message}: {fault.details}" if fault.details else fault.message


_NODE_ID = re.compile(r"#(.+?)'?$")
_NO_CLASS = re.compile(r"(does not exist|not found)\.")


def _missing_class(fault: ValidationFault, graph: Graph) -> Node | None:
    """The node whose class the server lacks, if the refusal is about one; the id stands in `Node ID '#x'`.

    A proxy may pass on the message alone, which names the class.
    """
    found = _NODE_ID.search(fault.details)
    if fault.type in {"invalid_prompt", "missing_node_type"}:
        return graph.nodes.get(fault.extra_info.node_id or (found[1] if found else ""))
    named = (node for node in graph.nodes.values() if f" {node.class_type} " in fault.message)
    return next(named, None) if _NO_CLASS.search(fault.message) else None


def _advice(located: _LocatedFault, choices: Choices) -> str:
    fault = located.fault
    if fault.type != "value_not_in_list":
        return _table_advice(fault, located.parameter)
    name, asked = fault.extra_info.input_name, str(fault.extra_info.received_value)
    folder = folder_of(located.node.class_type, name)
    offered = _offered(fault) or choices(located.node.class_type, name)
    if not offered:
        return f"Put the file into `models/{folder}` on the server" if folder else _table_advice(fault)
    choose = f"Choose one of those on the server for `{located.parameter}`: {names_like(asked, offered)}"
    return f"{choose}; or put {asked} into its `models/{folder}`" if folder else choose


def _table_advice(fault: ValidationFault, parameter: str = "") -> str:
    refused = Fault(said=_words(fault), codes=(fault.type, "refused_workflow"))
    return TABLE.explain(refused, Access(), input=fault.extra_info.input_name, parameter=parameter).next_step


def _offered(fault: ValidationFault) -> Sequence[str]:
    match fault.extra_info.input_config:
        case [list(options), *_] | [str(), {"options": list(options)}, *_]:
            return [str(option) for option in options]
        case _:
            return ()
