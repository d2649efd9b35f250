"""The owner's rules for editing images: which files, how large, how long an instruction, which words not.

They are settings of the credential form and apply to every request with input images, whatever the backend. They are
this plugin's own: services have limits of their own, and say so themselves.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images.sniff import FORMATS

FORMATS_FIELD = "edit_allowed_formats"
SIZE_FIELD = "edit_max_input_mb"
LENGTH_FIELD = "edit_max_instruction_length"
KEYWORDS_FIELD = "edit_forbidden_keywords"

_MB = 1_000_000
_MIME_TYPES = {"jpg": "image/jpeg", **{mime.removeprefix("image/"): mime for mime in FORMATS.values()}}
_SEPARATORS = re.compile(r"[,;，、；\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPolicy:
    """`allowed_formats` are MIME types, `max_input_mb` counts 1,000,000 bytes, `max_instruction_length` characters.

    A limit of 0 means: no limit. The defaults let a phone's photo through.
    """

    allowed_formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp")
    max_input_mb: float = 10.0
    max_instruction_length: int = 2000
    forbidden_keywords: tuple[str, ...] = ()

    @classmethod
    def read(cls, credentials: Mapping[str, object]) -> "EditPolicy":
        """The policy of a credential form; an empty field keeps the default.

        Raises BadRequest for a setting that cannot be read, naming it.
        """
        return cls(
            allowed_formats=tuple(map(_mime_type, _listed(credentials, FORMATS_FIELD))) or cls().allowed_formats,
            max_input_mb=_limit(credentials, SIZE_FIELD, cls().max_input_mb),
            max_instruction_length=int(_limit(credentials, LENGTH_FIELD, cls().max_instruction_length)),
            forbidden_keywords=_listed(credentials, KEYWORDS_FIELD),
        )


def check(request: ImageRequest, policy: EditPolicy) -> None:
    """Raises BadRequest, naming the setting, for an edit that the policy forbids; nothing else is looked at."""
    if not request.images:
        return
    for image in (*request.images, *filter(None, (request.mask,))):
        _check_format(image, policy)
        _check_size(image, policy)
    _check_length(request.prompt, policy)
    _check_words(request.prompt, policy)


def _check_format(image: InputImage, policy: EditPolicy) -> None:
    if image.mime_type not in policy.allowed_formats:
        allowed = ", ".join(_short(mime) for mime in policy.allowed_formats)
        kind = _short(image.mime_type)
        # The field replaces the defaults, so that the sentence names the whole list to write.
        raise _forbidden(
            f"{_name(image)} is a {kind} file; only {allowed} may be edited here",
            f"Send it as {allowed}, or let the owner write `{allowed}, {kind}` into `{FORMATS_FIELD}` in the settings",
        )


def _check_size(image: InputImage, policy: EditPolicy) -> None:
    size = len(image.data) / _MB
    if policy.max_input_mb and size > policy.max_input_mb:
        raise _forbidden(
            f"{_name(image)} has {size:.1f} MB; at most {policy.max_input_mb:g} MB may be edited here",
            _way_out("Send a smaller file", SIZE_FIELD),
        )


def _check_length(instruction: str, policy: EditPolicy) -> None:
    if policy.max_instruction_length and len(instruction) > policy.max_instruction_length:
        raise _forbidden(
            f"The instruction has {len(instruction)} characters; at most {policy.max_instruction_length} are allowed "
            "here",
            _way_out("Shorten it", LENGTH_FIELD),
        )


def _check_words(instruction: str, policy: EditPolicy) -> None:
    text = _folded(instruction)
    for keyword in policy.forbidden_keywords:
        if _pattern(keyword).search(text):
            raise _forbidden(
                f"The instruction contains “{keyword}”, which is not allowed here",
                _way_out("Leave it out", KEYWORDS_FIELD),
            )


def _forbidden(what: str, next_step: str) -> BadRequest:
    return BadRequest("The edit was refused", what, next_step)


def _way_out(for_user: str, field: str) -> str:
    return f"{for_user}, or let the owner change `{field}` in the settings"


def _pattern(keyword: str) -> re.Pattern[str]:
    """A word in Latin letters counts as a whole word ("ass" is not in "glass"); Chinese has no spaces and counts anywhere."""
    folded = _folded(keyword)
    before = r"(?<!\w)" if re.match(r"\w", folded, re.ASCII) else ""
    after = r"(?!\w)" if re.search(r"\w$", folded, re.ASCII) else ""
    return re.compile(before + re.escape(folded) + after, re.ASCII)


def _folded(text: str) -> str:
    """Case, full-width letters, white space and invisible characters do not hide a word."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return " ".join(visible.casefold().split())


def _listed(credentials: Mapping[str, object], field: str) -> tuple[str, ...]:
    return tuple(_words(str(credentials.get(field) or "")))


def _words(text: str) -> Iterable[str]:
    return dict.fromkeys(word.strip() for word in _SEPARATORS.split(text) if word.strip())


def _mime_type(name: str) -> str:
    mime = _MIME_TYPES.get(name.casefold().lstrip("."))
    if mime is None:
        raise _unreadable(FORMATS_FIELD, name, f"a list out of {', '.join(sorted(_MIME_TYPES))}")
    return mime


def _limit(credentials: Mapping[str, object], field: str, default: float) -> float:
    text = str(credentials.get(field) or "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise _unreadable(field, text, "a number, or 0 for no limit")
    return number


def _unreadable(field: str, value: str, wanted: str) -> BadRequest:
    return BadRequest(f"The setting `{field}` cannot be {value[:80]!r}", next_step=f"Write {wanted}")


def _short(mime_type: str) -> str:
    return mime_type.removeprefix("image/").upper()


def _name(image: InputImage) -> str:
    return image.filename[:100] or "The input image"
