"""From a server's answer to images: base64, data URLs, addresses, a bare image or a ZIP of several."""

import base64
import binascii
import io
import zipfile
from dataclasses import dataclass

from pydantic import BaseModel

from models.backends.errors import ServerUnavailable
from models.backends.http import MIB
from models.backends.reply import Reply, parse
from models.images.sniff import NotAnImageError, sniff

_ZIP = b"PK\x03\x04"
_MOST_FILES = 16
_MOST_BYTES = 64 * MIB


class Item(BaseModel):
    """One image of an answer; servers send further keys (SGLang a path on its own disk), which are not read."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class Answer(BaseModel):
    """`data` is OpenAI's name for the images, `images` SiliconFlow's. `seed` only SiliconFlow reports."""

    data: list[Item] | None = None
    images: list[Item] | None = None
    seed: int | None = None

    @property
    def items(self) -> list[Item]:
        return [item for item in self.data or self.images or [] if item.b64_json or item.url]


@dataclass(frozen=True, slots=True)
class Found:
    """An image of an answer: its bytes, their base64, or the address to fetch them from."""

    data: bytes = b""
    encoded: str = ""
    address: str = ""
    revised_prompt: str | None = None


def pictures(reply: Reply, attempt: str) -> tuple[list[Found], int | None]:
    """The images of a 2xx answer, in order, and the seed where it is reported. Raises ServerUnavailable."""
    if reply.body.startswith(_ZIP):
        return [Found(data) for data in unzipped(reply.body, attempt)], None
    if _is_image(reply.body):
        return [Found(reply.body)], None
    answer = parse(reply, Answer, attempt=attempt)
    return [_found(item) for item in answer.items], answer.seed


def _is_image(data: bytes) -> bool:
    try:
        sniff(data)
    except NotAnImageError:
        return False
    return True


def _found(item: Item) -> Found:
    address = item.url or ""
    encoded = item.b64_json or (address if address.startswith("data:") else "")
    if encoded:
        return Found(encoded=encoded, revised_prompt=item.revised_prompt)
    return Found(address=address, revised_prompt=item.revised_prompt)


def decoded(text: str, attempt: str) -> bytes:
    """Base64 with or without a `data:…,` prefix and line breaks. Raises ServerUnavailable for anything else."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ServerUnavailable(
            f"{attempt} failed", "the image came as broken base64", "Try again; if it stays, look at the server's log"
        ) from None


def unzipped(body: bytes, attempt: str) -> list[bytes]:
    """The files of a ZIP, at most 16 of 64 MiB each: a small archive can hold a very large one."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MOST_FILES or any(entry.file_size > _MOST_BYTES for entry in entries):
                raise ServerUnavailable(f"{attempt} failed", "the ZIP is too large", "Ask for fewer images")
            # The sizes are claims of the archive; reading one byte more than the cap finds a false one.
            files = [_read(archive, entry) for entry in entries]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise ServerUnavailable(f"{attempt} failed", "the images came in a broken ZIP", "Try again") from None
    if any(len(data) > _MOST_BYTES for data in files):
        raise ServerUnavailable(f"{attempt} failed", "the ZIP is too large", "Ask for fewer images")
    return files


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(_MOST_BYTES + 1)
