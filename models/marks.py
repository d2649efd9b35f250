"""What the owner puts on images: the grammar of the form's field `marks`.

    logo https://..., position bottom-right, opacity 0.6, producer "Name of the company", language zh

Entries are `name value`, separated by commas or newlines. A value with a comma stands in quotation marks; a data URI
needs none.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from models.backends.errors import BadRequest
from models.settings import Settings

FIELD = "marks"

type Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]
type LabelLanguage = Literal["", "en", "zh"]

_POSITIONS = "|".join(get_args(Position.__value__))
_ENTRY = re.compile(
    r"""\s*([^\W\d_]+)\s*[:=：\s]\s*
    ("[^"]*" | “[^”]*” | data:[^,\s]*,[^,，\s]* | [^,，;；、\n]*?)
    \s*(?:[,，;；、\n]|$)""",
    re.VERBOSE,
)
_FORMS: Mapping[str, tuple[str, str]] = {
    "logo": (r"(?:https?://\S+|data:image/\S+)", "`logo https://…` or a data URI of a PNG, JPEG or WebP file"),
    "position": (f"(?:{_POSITIONS})", f"`position` with one of {_POSITIONS.replace('|', ', ')}"),
    "opacity": (r"(?:0\.\d{1,3}|1(?:\.0)?|\.\d{1,3})", "a number up to 1, like `opacity 0.6`"),
    "producer": (r".{1,100}", 'a name of at most 100 characters, like `producer "Name of the company"`'),
    "language": ("(?:en|zh)", "`language en` or `language zh`"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The owner's marks. `logo` is an address or a data URI; `producer` names who answers for the images.

    `opacity` (0 to 1) is that of texts and the logo, `language` that of the visible AI label; empty: the prompt's.
    """

    logo: str = ""
    position: Position = "bottom-right"
    opacity: float = 0.8
    producer: str = ""
    language: LabelLanguage = ""

    @classmethod
    def read(cls, settings: Settings) -> "Marks":
        """Raises BadRequest for what cannot be read, quoting the entry and naming the field."""
        values: dict[str, str] = {}
        for name, value in _entries(settings.text(FIELD), settings.where(FIELD)):
            form, wanted = _FORMS.get(name, ("", ""))
            if not wanted:
                known = ", ".join(f"`{one}`" for one in _FORMS)
                raise _unreadable(f"{name} {value}", settings.where(FIELD), f"Write entries of {known}")
            plain = value.casefold() if name in {"position", "language"} else value
            if name in values or not re.fullmatch(form, plain):
                raise _unreadable(f"{name} {value}", settings.where(FIELD), f"Write {wanted}, once")
            values[name] = plain
        opacity = {"opacity": float(values.pop("opacity"))} if "opacity" in values else {}
        return cls(**values, **opacity)  # type: ignore[arg-type]  # each form holds the values of its field


def _entries(text: str, where: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.strip().rstrip(",，;；、")
    while at < len(text):
        found = _ENTRY.match(text, at)
        if found is None:
            raise _unreadable(text[at:], where, "Write entries like `position bottom-right`, separated by commas")
        at = found.end()
        yield found[1].casefold(), found[2].strip('"“” ')


def _unreadable(entry: str, where: str, wanted: str) -> BadRequest:
    return BadRequest(f"“{entry.strip()[:80]}” in {where} cannot be read", next_step=wanted)
