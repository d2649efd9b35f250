"""What a contact sheet has beside its image, for the host: its archive as a document, and the addresses of both files.

An archive goes out as bytes where they have room in the line. The host fails a whole answer of which it cannot fetch one
address, so an address alone is told as text.
"""

import base64
from collections.abc import Iterator, Mapping

from dify_plugin.entities.model.message import DocumentPromptMessageContent, TextPromptMessageContent

from models.entities import GeneratedImage, SideFile

_NAMES: Mapping[str, str] = {"zip": "originals.zip", "html": "gallery.html"}
_AROUND = 500  # bytes of JSON around a document

type DocumentContent = DocumentPromptMessageContent | TextPromptMessageContent


def documents_of(image: GeneratedImage, room: int, *, told: bool) -> Iterator[DocumentContent]:
    """The documents beside an image in at most `room` bytes of the line; `told`: text may stand beside them."""
    sides = [side for side in image.side_files if side.is_document]
    files = [file for side in sides if side.suffix == "zip" and (file := _document(image, side, room))]
    if files and told:
        # The host writes the link of a document right behind the image.
        yield TextPromptMessageContent(data="\n")
    yield from files
    links = [f"[{_NAMES[side.suffix]}]({url})" for side in sides if (url := _address(image, side))]
    if links and told:
        yield TextPromptMessageContent(data=f"\n{' · '.join(links)}\n")


def _document(image: GeneratedImage, archive: SideFile, room: int) -> DocumentPromptMessageContent | None:
    """The archive by its address or as bytes; None where neither can be."""
    url = _address(image, archive)
    content = {"url": url} if url and image.kept and image.kept.by_url else {}
    if not content and len(archive.data) * 4 // 3 + _AROUND <= room:
        content = {"base64_data": base64.b64encode(archive.data).decode()}
    if not content:
        return None
    return DocumentPromptMessageContent(
        format=archive.suffix, mime_type=archive.mime_type, filename=_NAMES[archive.suffix], **content
    )


def _address(image: GeneratedImage, side: SideFile) -> str:
    """Where a side file is kept, if the host or a browser can fetch it there."""
    url = image.kept.side_urls.get(side.suffix, "") if image.kept else ""
    return url if url.startswith(("http://", "https://")) else ""
