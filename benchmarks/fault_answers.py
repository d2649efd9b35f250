"""Answers that a service or a proxy gives in place of the expected one."""

import gzip
import io
import json
import struct
import time
import zlib
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler

from tests.servers.scripted import Act, say


def quoting(status: int, message: str = "refused", code: str = "", **headers: str) -> Act:
    """A refusal that quotes the credentials of the request, as some services do."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        said = f"{message} for {handler.headers.get('Authorization', '')}"
        error: dict[str, object] = {"message": said, **({"code": code} if code else {})}
        say(status, json.dumps({"error": error, **error}), **headers)(handler)

    return act


def page(status: int) -> Act:
    return say(status, "<html><body>Bad <b>Gateway</b> Traceback</body></html>", Content_Type="text/html")


def retry_at(seconds: float, *, server_time: float | None = None) -> Act:
    """A 429 with a date `seconds` after the server's own clock."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        now = int(server_time or time.time())
        handler.date_time_string = lambda *_: formatdate(now, usegmt=True)  # type: ignore[method-assign]
        then = formatdate(now + seconds, usegmt=True)
        quoting(429, "too many requests", "Throttling.RateQuota", Retry_After=then)(handler)

    return act


@cache
def bomb() -> bytes:
    """A PNG of 900 megapixels in 110 KB."""
    side = 30_000
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@cache
def gzip_bomb() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(2**20))
    return out.getvalue()
