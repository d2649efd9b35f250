"""The parameter `stamp`: texts, `qr:...` and `logo`, separated by `;`; and the owner's logo, fetched once per process."""

import re
from collections.abc import Sequence

from cachetools import TTLCache, cached

from models.backends.errors import BadRequest, ImageError
from models.backends.http import MIB
from models.backends.images import download
from models.clock import Deadline, SystemClock
from models.entities import from_base64
from models.images import in_thread
from models.images.codec import decode
from models.images.stamps import LogoStamp, QRStamp, Stamp, TextStamp, qr_code
from models.marks import FIELD, Marks
from models.settings import Settings

_MOST_STAMPS = 6
_LONGEST_TEXT = 300  # characters
_LARGEST_LOGO = 4 * MIB
_LOGO_SECONDS = 10.0
_LOGO_KEPT = 3600.0  # seconds
_QR = re.compile(r"(?i)qr\s*[:：]\s*")


def read_stamps(text: str) -> tuple[Stamp, ...]:
    """The stamps in their order; the logo without its file.

    Raises BadRequest for too many stamps, a text that is too long, and more than a QR code holds.
    """
    entries = [entry.strip() for entry in text.split(";") if entry.strip()]
    if len(entries) > _MOST_STAMPS:
        raise BadRequest(f"`stamp` names {len(entries)} stamps", next_step=f"Name at most {_MOST_STAMPS}")
    return tuple(LogoStamp(b"") if entry.casefold() == "logo" else _stamp(entry) for entry in entries)


def with_logo(stamps: Sequence[Stamp], source: str) -> tuple[tuple[Stamp, ...], tuple[str, ...]]:
    """The stamps with the file of the logo, and a notice where there is none: an image is never lost to a logo.

    `source` is an address of the owner (private ones too) or a data URI.
    """
    if LogoStamp(b"") not in stamps:
        return tuple(stamps), ()
    try:
        logo = LogoStamp(_logo(source))
    except (ImageError, ValueError) as error:
        others = tuple(stamp for stamp in stamps if not isinstance(stamp, LogoStamp))
        return others, (f"The logo was left out: {_reason(error)}.",)
    return tuple(logo if isinstance(stamp, LogoStamp) else stamp for stamp in stamps), ()


def check_marks(settings: Settings) -> None:
    """What is tried when a form is saved. Raises BadRequest for marks that cannot be read and for a logo that is none."""
    marks = Marks.read(settings)
    if not marks.logo:
        return
    try:
        _logo(marks.logo)
    except (ImageError, ValueError) as error:
        attempted = f"The logo in {settings.where(FIELD)} cannot be used"
        raise BadRequest(attempted, _reason(error), "Correct its address") from None


def _reason(error: ImageError | ValueError) -> str:
    return (error.said or error.attempted) if isinstance(error, ImageError) else str(error)


def _stamp(entry: str) -> Stamp:
    found = _QR.match(entry)
    if found is None:
        if len(entry) > _LONGEST_TEXT:
            raise BadRequest(
                f"A text in `stamp` has {len(entry)} characters", next_step=f"Give at most {_LONGEST_TEXT}"
            )
        return TextStamp(entry)
    content = entry[found.end() :]
    if not content:
        raise BadRequest("`qr:` in `stamp` has no content", next_step="Write the text or address behind it")
    try:
        in_thread(qr_code, content)
    except ValueError:
        raise BadRequest(
            f"A QR code in `stamp` cannot hold {len(content)} characters", next_step="Give a shorter text or address"
        ) from None
    return QRStamp(content)


@cached(TTLCache(64, _LOGO_KEPT))
def _logo(source: str) -> bytes:
    """The logo's file. Raises ImageError or ValueError for one that cannot be fetched or is no image."""
    clock = SystemClock()
    data = (
        from_base64(source)
        if source.startswith("data:")
        else download(
            source,
            attempt="Fetching the logo",
            clock=clock,
            deadline=Deadline.after(clock, _LOGO_SECONDS),
            max_bytes=_LARGEST_LOGO,
            allow_private=True,
        ).body
    )
    in_thread(decode, data)
    return data
