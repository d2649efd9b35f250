"""The label that says that an image was made by AI: written into a file's metadata, read from it, carried to a new file.

- XMP property `AIGC` (namespace of TC260): JSON with exactly seven keys, as the Chinese labelling rules of 2025 ask
  (GB 45438-2025; the practice guide of TC260 on labels in the metadata of files).
- XMP property `Iptc4xmpExt:DigitalSourceType` (IPTC Photo Metadata Standard 2023.2).

A service may have labelled already: in XMP, in a PNG text chunk `AIGC`, or in EXIF. A file has exactly one label.
"""

import html
import json
import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from models.images.metadata import exif_of, has_credentials, packet_of, png_texts, with_packet

TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{_SOURCE_TYPES}trainedAlgorithmicMedia"
EDITED = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"

KEYS = (
    *("Label", "ContentProducer", "ProduceID", "ReservedCode1"),
    *("ContentPropagator", "PropagateID", "ReservedCode2"),
)
_GENERATED_BY_AI = "1"  # 2: possibly, 3: suspected
_PNG_TEXT = "AIGC"
LOST_CREDENTIALS = "lost its signed Content Credentials, which hold only for unchanged bytes"
_IN_EXIF = re.compile(r'\{\s*"AIGC"\s*:\s*\{[^{}]*\}\s*\}|\{[^{}]*"ContentProducer"[^{}]*\}')
_UNICODE = b"UNICODE\0"  # opens an EXIF comment in UTF-16
_LONGEST_LABEL = 32_000  # bytes that a label may add to a packet
_LONGEST_VALUE = 1_000  # characters of one value that are carried: signatures are long, and a value may be hostile


@dataclass(frozen=True, slots=True)
class AILabel:
    """One label. `values` has keys of KEYS, `source_type` is a URI of IPTC's list; either may be empty."""

    values: dict[str, str] = field(default_factory=dict)
    source_type: str = ""

    @property
    def packet(self) -> bytes:
        return (_OPENING + _description(self) + _CLOSING).encode()


def label_of(data: bytes) -> AILabel | None:
    """The label that a file carries; None where it has none."""
    packet = _readable(packet_of(data))
    values = (
        _values(_property("AIGC", packet))
        or _values(png_texts(data).get(_PNG_TEXT, ""))
        or _values(_in_exif(exif_of(data))[0])
    )
    kind = _property("DigitalSourceType", packet)[:_LONGEST_VALUE]
    source_type = kind if "algorithmic" in kind.casefold() else ""
    return AILabel(values, source_type) if values or source_type else None


def labelled(data: bytes, producer: str, produce_id: str, *, edited: bool) -> tuple[bytes, tuple[str, ...]]:
    """The file with its one label, pixels untouched, and what it lost.

    Where a service has labelled already, its producer stays and `producer` becomes the propagator. Raises ValueError
    for another format than PNG, JPEG and WebP.
    """
    own = label_of(data) or AILabel()
    if own.values:
        values = {**own.values, "ContentPropagator": producer, "PropagateID": produce_id}
    else:
        values = {"Label": _GENERATED_BY_AI, "ContentProducer": producer, "ProduceID": produce_id}
    label = AILabel(values, own.source_type or (EDITED if edited else GENERATED))
    lost = (LOST_CREDENTIALS,) if has_credentials(data) else ()
    _, in_exif = _in_exif(exif_of(data))
    made = with_packet(
        data, _merged(packet_of(data), label), replaced_texts=frozenset({_PNG_TEXT}), replaced_exif=in_exif
    )
    return made, lost


def carried_over(source: bytes, made: bytes) -> tuple[bytes, tuple[str, ...]]:
    """`made`, a new file of the image in `source`, with the label of `source`, and what the image lost."""
    lost = (LOST_CREDENTIALS,) if has_credentials(source) else ()
    label = label_of(source)
    return (with_packet(made, label.packet) if label else made), lost


_OPENING = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
)
_END = "</rdf:RDF>"
_CLOSING = f' {_END}\n</x:xmpmeta>\n<?xpacket end="w"?>'


def _description(label: AILabel) -> str:
    """The label as one RDF node. A packet may hold several about the same file."""
    aigc = json.dumps({key: label.values.get(key, "") for key in KEYS}, ensure_ascii=False)
    properties = [f"<TC260:AIGC>{escape(aigc)}</TC260:AIGC>"] if label.values else []
    if label.source_type:
        properties.append(f"<Iptc4xmpExt:DigitalSourceType>{escape(label.source_type)}</Iptc4xmpExt:DigitalSourceType>")
    inside = "\n   ".join(properties)
    namespaces = f'xmlns:TC260="{TC260}" xmlns:Iptc4xmpExt="{IPTC}"'
    return f'  <rdf:Description rdf:about="" {namespaces}>\n   {inside}\n  </rdf:Description>\n'


def _merged(packet: bytes, label: AILabel) -> bytes:
    """A packet with the label in place of its own, everything else as it is; one that cannot be read is replaced."""
    text = _readable(packet)
    for name in ("AIGC", "DigitalSourceType"):
        text = _element(name).sub("", _attribute(name).sub("", text))
    text = _EMPTY_NODE.sub("", text)
    before, end, after = text.rpartition(_END)
    merged = f"{before.rstrip()}\n{_description(label)} {end}{after}".encode()
    return merged if end and _is_xml(merged) and len(merged) < len(packet) + _LONGEST_LABEL else label.packet


_EMPTY_NODE = re.compile(r"""<rdf:Description(?:\s+(?:rdf:about|xmlns:\w+)="[^"<]*")*\s*>\s*</rdf:Description>""")


def _readable(packet: bytes) -> str:
    """The text of a packet of well-formed XML without entities of its own, else an empty one."""
    if b"<!" in packet.replace(b"<!--", b"") or not _is_xml(packet):
        return ""
    return packet.decode("utf-8", "ignore")


def _is_xml(packet: bytes) -> bool:
    try:
        ET.fromstring(packet)  # noqa: S314 -- `_readable` lets no document type pass, so there is nothing to expand
    except ET.ParseError:
        return False
    return True


def _element(name: str) -> re.Pattern[str]:
    return re.compile(rf"<(?:\w+:)?{name}(?:\s[^<>]*)?(?:/>|>([^<]*)</(?:\w+:)?{name}\s*>)")


def _attribute(name: str) -> re.Pattern[str]:
    return re.compile(rf"""\s\w+:{name}\s*=\s*(?:"([^"<]*)"|'([^'<]*)')""")


def _property(name: str, packet: str) -> str:
    """The value of an XMP property, written as an element or as an attribute; empty where it is not there."""
    found = _element(name).search(packet) or _attribute(name).search(packet)
    if found is None:
        return ""
    value = next(filter(None, found.groups()), "") or _resource(found[0])
    return html.unescape(value).strip()


def _resource(element: str) -> str:
    found = re.search(r"""rdf:resource\s*=\s*["']([^"'<]*)["']""", element)
    return found[1] if found else ""


def _in_exif(exif: bytes) -> tuple[str, bytes]:
    """A label in an EXIF block, as text and as the bytes that hold it; empty where there is none."""
    _, comment, behind = exif.partition(_UNICODE)
    places = [(exif, "utf-8"), *((behind, encoding) for encoding in ("utf-16-be", "utf-16-le") if comment)]
    for place, encoding in places:
        if found := _IN_EXIF.search(place.decode(encoding, "ignore")):
            return found[0], found[0].encode(encoding)
    return "", b""


def _values(text: str) -> dict[str, str]:
    """The known keys of a service's label, also where it stands in an object `AIGC`; empty for anything else."""
    try:
        known = json.loads(text)
    except ValueError:
        return {}
    inner = known.get("AIGC", known) if isinstance(known, dict) else {}
    values = {key: str(inner[key])[:_LONGEST_VALUE] for key in KEYS if key in inner} if isinstance(inner, dict) else {}
    return values if any(values.values()) else {}
