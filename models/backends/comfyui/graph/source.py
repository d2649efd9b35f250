"""What people paste as a workflow, read into a JSON graph.

Accepted: API format, editor format (told apart, not yet converted), either inside a request body (`{"prompt": {...}}`,
`{"input": {"workflow": {...}}}`), and a PNG or WebP made by ComfyUI, whose metadata holds the graph, as bytes, base64
text or a data URI. Placeholders of other programs (`%steps%`) become ours (`{{steps}}`).
"""

import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from pydantic import JsonValue

from models.backends.comfyui.graph.graph import RawGraph
from models.backends.comfyui.graph.nodes import with_braces
from models.backends.errors import BadRequest
from models.entities import from_base64

EXPORT = "In ComfyUI choose Workflow > Export (API) and paste that file's text"

type EditorGraph = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Source:
    """Exactly one of the two is set."""

    api: RawGraph | None = None
    editor: EditorGraph | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Every node class that it names, those inside subgraphs and group nodes included."""
        api = (str(node["class_type"]) for node in (self.api or {}).values())
        return tuple(dict.fromkeys((*api, *_editor_types(self.editor))))


def read_source(pasted: str | bytes) -> Source:
    """Tell what was pasted and read it. Raises BadRequest with the way to a file that works."""
    if isinstance(pasted, bytes):
        return _from_image(pasted) if _is_image(pasted) else read_source(_decoded(pasted))
    text = pasted.strip().removeprefix("\ufeff")
    if not text:
        raise _unreadable("it is empty")
    image = _image_in(text)
    return _from_image(image) if image else _classify(_parsed(text))


def _classify(value: JsonValue) -> Source:
    if not isinstance(value, dict):
        raise _unreadable("it is not a JSON object")
    if found := sorted(_unwrapped(value, _WRAPPED), key=lambda source: source.api is None):
        return found[0]
    raise _unreadable("it has no node with a `class_type`")


_WRAPPED = 4  # levels of a request body around a graph: {"input": {"workflow": ...}}, {"<job>": {"prompt": [...]}}


def _unwrapped(value: JsonValue, levels: int) -> Iterator[Source]:
    if isinstance(value, str) and value.lstrip().startswith("{"):  # hosts that take the workflow as text
        try:
            value = _loads(value)
        except ValueError:
            return
    if isinstance(value, dict) and isinstance(value.get("nodes"), list):
        yield Source(editor=value)
    elif isinstance(value, dict) and (nodes := _api(value)):
        yield Source(api=nodes)
    elif isinstance(value, (dict, list)) and levels:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _unwrapped(inner, levels - 1)


def _editor_types(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        nodes = value.get("nodes")
        for node in nodes if isinstance(nodes, list) else ():
            if isinstance(node, dict) and "type" in node:
                yield str(node["type"])
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _editor_types(inner)


def _api(value: dict[str, JsonValue]) -> RawGraph:
    return {key: _clean(node) for key, node in value.items() if isinstance(node, dict) and "class_type" in node}


def _clean(node: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # Comments and version keys, which some programs write, make the server refuse the whole graph.
    kept = {key: item for key, item in node.items() if key in ("class_type", "_meta")}
    inputs = node.get("inputs")
    return {
        **kept,
        "inputs": {key: _own(key, item) for key, item in inputs.items()} if isinstance(inputs, dict) else {},
    }


def _own(name: str, value: JsonValue) -> JsonValue:
    match value:
        case [int(node), int(slot)] if not isinstance(node, bool) and not isinstance(slot, bool):
            return [str(node), slot]  # the server takes only strings as node ids in links
        case str() if "%" in value and not FILE_NAME.search(name):
            return with_braces(value)
        case _:
            return value


FILE_NAME = re.compile("prefix|file|path|folder", re.IGNORECASE)  # there ComfyUI has tokens of its own: %width%


_BARE_PLACEHOLDER = re.compile(r"([:\[,]\s*)(\{\{[^{}]*\}\}|%\w+%)(?=\s*[,\]}])")


def _parsed(text: str) -> JsonValue:
    try:
        return _loads(text)
    except ValueError as error:
        # `"width": {{width}}` is how people write a number's placeholder; as a string it is JSON.
        quoted = _BARE_PLACEHOLDER.sub(lambda found: found[1] + json.dumps(found[2]), text)
        try:
            return _loads(quoted)
        except ValueError:
            raise _unreadable(f"it is not JSON ({error})") from error


def _loads(text: str) -> JsonValue:
    # NaN, which ComfyUI itself writes into metadata, is no JSON that the server would take back.
    try:
        value: JsonValue = json.loads(
            text, parse_constant=lambda _: None, parse_int=_whole_number, parse_float=_decimal_number
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _is_deeper(value, _DEEPEST):
        raise ValueError("nested too deeply")
    return value


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"the number {text[:_MOST_DIGITS]}… is too large")
    return int(text)


def _decimal_number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"the number {text} is too large")
    return float(text)


_MOST_DIGITS = 24  # the server's seeds have 20
_DEEPEST = 64  # a workflow needs about ten levels


def _is_deeper(value: JsonValue, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable("it is neither text nor an image made by ComfyUI") from error


_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_BASE64_STARTS = ("iVBORw0KGgo", "UklGR")  # PNG and RIFF (WebP)


def _image_in(text: str) -> bytes | None:
    head = _DATA_URI.match(text)
    if head is None and not text.startswith(_BASE64_STARTS):
        return None
    body = text[head.end() :] if head else text
    try:
        return from_base64(body)
    except ValueError as error:
        raise _unreadable("it starts like an image in base64 and is not complete") from error


def _is_image(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n") or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")


def _from_image(data: bytes) -> Source:
    # The API graph first: it is what really ran, and needs no conversion.
    texts = _metadata(data)
    for key in ("prompt", "workflow"):
        if texts.get(key):
            return _classify(_parsed(texts[key]))
    raise _unreadable("the image carries no workflow (it may have been re-encoded)")


_EXIF = {"prompt": 0x0110, "workflow": 0x010F}


def _metadata(data: bytes) -> dict[str, str]:
    """Only headers are read, no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
            if image.format == "PNG":
                return {key: str(image.info[key]) for key in _EXIF if key in image.info}
            exif = image.getexif()
            return {key: str(exif.get(tag, "")).removeprefix(f"{key}:") for key, tag in _EXIF.items()}
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable("the image cannot be read") from error


def _unreadable(why: str) -> BadRequest:
    return BadRequest("The workflow cannot be read", why, EXPORT)
