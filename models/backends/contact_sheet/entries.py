"""The images that a request names: those of the conversation, and Markdown image links in its text with their captions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.entities import InputImage

_LINK = re.compile(r"!\[([^\[\]]*)\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+[\"'][^\"']*[\"'])?\s*\)")
_AROUND = " \t\r\n[](){}\"',;*#-|"  # of JSON lists, Markdown lists and headings
_LONGEST_CAPTION = 200  # characters
_FILE_NAME = re.compile(r"(?i)[\w.-]+\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic)")


@dataclass(frozen=True, slots=True)
class SheetEntry:
    """One image to show: an address, or the file itself."""

    caption: str
    address: str = ""
    image: InputImage | None = None


def read_entries(text: str, images: Sequence[InputImage]) -> tuple[str, tuple[SheetEntry, ...]]:
    """The title (the first line before the first link) and the images: those of the conversation, then the links.

    A link without an alternative text has the line behind it as its caption, an image without a name its number.
    """
    links = list(_LINK.finditer(text))
    before = text[: links[0].start()] if links else text
    title = next(filter(None, map(_plain, before.split("\n"))), "")
    given = [SheetEntry(_name(image), image=image) for image in images]
    entries = [*given, *_linked(text, links)]
    numbered = (
        SheetEntry(entry.caption or f"{number}", entry.address, entry.image) for number, entry in enumerate(entries, 1)
    )
    return title, tuple(numbered)


def _linked(text: str, links: Sequence[re.Match[str]]) -> Iterator[SheetEntry]:
    for place, link in enumerate(links):
        end = links[place + 1].start() if place + 1 < len(links) else len(text)
        behind = next((line for line in map(_plain, text[link.end() : end].split("\n")) if line), "")
        alternative = _plain(link[1])
        caption = behind if not alternative or _FILE_NAME.fullmatch(alternative) else alternative
        yield SheetEntry(caption, address=link[2])


def _name(image: InputImage) -> str:
    return _plain(image.filename.rpartition(".")[0] or image.filename)


def _plain(text: str) -> str:
    return " ".join(text.replace("\\n", " ").strip(_AROUND).split())[:_LONGEST_CAPTION]
