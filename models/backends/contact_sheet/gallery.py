"""What a store keeps beside the sheet: a ZIP archive of the originals, and a page that shows them.

The page stands alone: small images are inside it, and a lasting address of an original is linked.
"""

import base64
import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from models.images.codec import encode
from models.images.sniff import sniff

_ODD = re.compile(r"[^\w.-]+")
_NAME_LENGTH = 60
_EPOCH = (2026, 1, 1, 0, 0, 0)  # fixed: the same images give the same archive
_STYLE = (
    "body{font:16px/1.4 system-ui,sans-serif;margin:2rem;background:#f4f5f7;color:#20242c}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1.5rem}"
    "figure{margin:0}img{width:100%;background:#fff;border:1px solid #e0e3e8}figcaption{overflow-wrap:anywhere}"
)


@dataclass(frozen=True, slots=True)
class Original:
    """A file on the sheet, as it is shown there, and its address where that lasts."""

    caption: str
    data: bytes
    shown: Image.Image
    address: str = ""


def zipped(originals: Sequence[Original]) -> bytes:
    """The originals, unchanged and uncompressed (they are compressed already), named by number and caption."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number, original in enumerate(originals, 1):
            archive.writestr(zipfile.ZipInfo(file_name(number, original), _EPOCH), original.data)
    return out.getvalue()


def file_name(number: int, original: Original) -> str:
    words = _ODD.sub("-", original.caption).strip("-.")[:_NAME_LENGTH]
    extension = sniff(original.data).mime_type.removeprefix("image/").replace("jpeg", "jpg")
    return f"{number:03}{'-' if words else ''}{words}.{extension}"


def page(originals: Sequence[Original], title: str) -> bytes:
    """The gallery as one HTML file without scripts. Everything that a prompt brought is escaped."""
    figures = "\n".join(_figure(original) for original in originals)
    heading = f"<h1>{escape(title)}</h1>\n" if title else ""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title) or "Images"}</title>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
    body = f"{heading}<main>\n{figures}\n</main>"
    return f"<!doctype html>\n<html><head>{head}{policy}<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n".encode()


def _figure(original: Original) -> str:
    source = base64.b64encode(encode(original.shown, "webp", 80)).decode()
    image = f'<img src="data:image/webp;base64,{source}" alt="{escape(original.caption)}">'
    linked = f'<a href="{escape(original.address)}" rel="noreferrer">{image}</a>' if original.address else image
    return f"<figure>{linked}<figcaption>{escape(original.caption)}</figcaption></figure>"
