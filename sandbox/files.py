"""
Where a workflow's files live: images that models made go to a folder, links to them look and expire like Dify's.

Link shape: `<FILES_URL>/files/tools/<id><extension>?timestamp=..&nonce=..&sign=..`, valid for 300 s, as in Dify's
`core/tools/signature.py`.
"""

import base64
import hashlib
import hmac
import mimetypes
import re
import secrets
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, override
from urllib.parse import parse_qs, urlsplit

from graphon.file.enums import FileTransferMethod
from graphon.file.file_factory import standardize_file_type
from graphon.file.models import File
from graphon.file.protocols import WorkflowFileRuntimeProtocol
from graphon.http import HttpResponse, HttpxHttpClient
from graphon.nodes.llm.file_saver import FileSaverImpl
from graphon.nodes.protocols import FileReferenceFactoryProtocol, ToolFileManagerProtocol

from sandbox.output_folder import OutputFolder

_LINK_LIFETIME = 300.0
_TOOL_PATH = re.compile(r"/files/tools/(?P<id>[0-9a-f-]{36})(?P<extension>\.\w+)?")
_UPLOAD_PATH = re.compile(r"/files/(?P<id>[0-9a-f-]{36})/file-preview")


@dataclass(frozen=True)
class StoredFile:
    """A file of this run; `id`, `name` and `file_key` are names from the engine's protocol."""

    id: str
    path: Path
    mime_type: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def file_key(self) -> str:
        return str(self.path)


@dataclass
class FileStore(OutputFolder, ToolFileManagerProtocol, FileReferenceFactoryProtocol, WorkflowFileRuntimeProtocol):
    """
    All files of one run.

    Args:
        folder, stem: where images are written, see `OutputFolder`.
        files_url: the host's public address, first part of every link.
        send_format: how images reach a model, `base64` or `url` (Dify's `MULTIMODAL_SEND_FORMAT`).
        now: clock in seconds since the epoch, for the links' expiry.

    """

    files_url: str = "http://localhost"
    send_format: Literal["base64", "url"] = "base64"
    now: Callable[[], float] = time.time
    _files: dict[str, StoredFile] = field(default_factory=dict)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def add_upload(self, path: Path) -> File:
        """Add a local file as an input of the workflow; it is not copied."""
        mime_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        stored = self._remember(StoredFile(id=str(uuid.uuid4()), path=path, mime_type=mime_type))
        return File(
            file_type=standardize_file_type(extension=path.suffix.lower(), mime_type=mime_type),
            transfer_method=FileTransferMethod.LOCAL_FILE,
            related_id=stored.id,
            filename=path.name,
            extension=path.suffix.lower(),
            mime_type=mime_type,
            size=path.stat().st_size,
        )

    def path_of(self, file: File) -> Path:
        """The path of a file of this run."""
        return self._files[str(file.related_id)].path

    def path_of_link(self, url: str) -> Path | None:
        """The file of one of this run's links, expired or not; None for any other URL."""
        stored = self._behind(url)
        return stored.path if stored else None

    @override
    def create_file_by_raw(self, *, file_binary: bytes, mimetype: str, filename: str | None = None) -> StoredFile:
        extension = Path(filename).suffix if filename else mimetypes.guess_extension(mimetype) or ".bin"
        path = self.write(file_binary, extension)
        return self._remember(StoredFile(id=str(uuid.uuid4()), path=path, mime_type=mimetype))

    @override
    def get_file_generator_by_tool_file_id(self, tool_file_id: str) -> tuple[Generator[bytes] | None, File | None]:
        stored = self._files.get(tool_file_id)
        return (_one_block(stored.path), None) if stored else (None, None)

    @override
    def build_from_mapping(self, *, mapping: Mapping[str, Any]) -> File:
        """A file of this run; fields missing in the mapping are taken from the stored file."""
        stored = self._files[str(mapping["tool_file_id"])]
        known = {
            "type": standardize_file_type(mime_type=stored.mime_type),
            "related_id": stored.id,
            "filename": stored.name,
            "extension": stored.path.suffix,
            "mime_type": stored.mime_type,
            "size": stored.path.stat().st_size,
        }
        return File(**{**known, **mapping})

    @property
    @override
    def multimodal_send_format(self) -> str:
        return self.send_format

    @override
    def http_get(self, url: str, *, follow_redirects: bool = True) -> HttpResponse:
        return HostHttpClient(self).get(url, follow_redirects=follow_redirects)

    @override
    def storage_load(self, path: str, *, stream: bool = False) -> bytes | Generator[bytes]:
        return _one_block(Path(path)) if stream else Path(path).read_bytes()

    @override
    def load_file_bytes(self, *, file: File) -> bytes:
        return self.path_of(file).read_bytes()

    @override
    def resolve_file_url(self, *, file: File, for_external: bool = True) -> str | None:
        if file.transfer_method == FileTransferMethod.REMOTE_URL:
            return file.remote_url
        if file.transfer_method == FileTransferMethod.TOOL_FILE:
            return self.resolve_tool_file_url(tool_file_id=str(file.related_id), extension=file.extension or ".bin")
        return self.resolve_upload_file_url(upload_file_id=str(file.related_id))

    @override
    def resolve_upload_file_url(
        self, *, upload_file_id: str, as_attachment: bool = False, for_external: bool = True
    ) -> str:
        return self._sign(f"{self.files_url}/files/{upload_file_id}/file-preview", upload_file_id)

    @override
    def resolve_tool_file_url(self, *, tool_file_id: str, extension: str, for_external: bool = True) -> str:
        return self._sign(f"{self.files_url}/files/tools/{tool_file_id}{extension}", tool_file_id)

    @override
    def verify_preview_signature(
        self, *, preview_kind: Literal["image", "file"], file_id: str, timestamp: str, nonce: str, sign: str
    ) -> bool:
        genuine = hmac.compare_digest(sign, self._signature(file_id, timestamp, nonce))
        return genuine and self.now() - float(timestamp) <= _LINK_LIFETIME

    def answer(self, url: str) -> HttpResponse | None:
        """The host's response to a GET of a link; None for a URL of another host."""
        if not url.startswith(f"{self.files_url}/files/"):
            return None
        stored = self._behind(url)
        query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        if stored is None:
            return HttpResponse(status_code=404, url=url)
        signature = {"timestamp": "0", "nonce": "", "sign": ""} | query
        if not self.verify_preview_signature(preview_kind="file", file_id=stored.id, **signature):
            return HttpResponse(status_code=403, url=url)
        return HttpResponse(
            status_code=200, headers={"content-type": stored.mime_type}, content=stored.path.read_bytes(), url=url
        )

    def _behind(self, url: str) -> StoredFile | None:
        path = urlsplit(url).path
        match = _TOOL_PATH.fullmatch(path) or _UPLOAD_PATH.fullmatch(path)
        return self._files.get(match["id"]) if match and url.startswith(self.files_url) else None

    def _sign(self, address: str, file_id: str) -> str:
        timestamp, nonce = str(int(self.now())), secrets.token_hex(16)
        return f"{address}?timestamp={timestamp}&nonce={nonce}&sign={self._signature(file_id, timestamp, nonce)}"

    def _signature(self, file_id: str, timestamp: str, nonce: str) -> str:
        message = f"file-preview|{file_id}|{timestamp}|{nonce}".encode()
        return base64.urlsafe_b64encode(hmac.new(self._secret, message, hashlib.sha256).digest()).decode()

    def _remember(self, stored: StoredFile) -> StoredFile:
        self._files[stored.id] = stored
        return stored


def file_saver(store: FileStore) -> FileSaverImpl:
    """The engine's file saver: downloads a URL, writes inline data unchanged."""
    return FileSaverImpl(tool_file_manager=store, file_reference_factory=store, http_client=HostHttpClient(store))


class HostHttpClient(HttpxHttpClient):
    """The host's HTTP client: its own links are served from the store, all others over HTTP."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    @override
    def get(self, url: str, max_retries: int = 0, **kwargs: Any) -> HttpResponse:
        return self._store.answer(url) or super().get(url, max_retries=max_retries, **kwargs)


def _one_block(path: Path) -> Generator[bytes]:
    yield path.read_bytes()
