"""The folder for images: numbered names, never an existing file overwritten."""

import glob
import mimetypes
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import requests

from sandbox.errors import DownloadError
from sandbox.protocol import Image

_SECONDS = 60


@dataclass
class OutputFolder:
    """
    Images on their way to a folder.

    Args:
        folder: made on the first image.
        stem: first part of the names.

    """

    folder: Path
    stem: str = "image"
    written: list[Path] = field(default_factory=list)
    _number: int = 0
    _numbering: threading.Lock = field(default_factory=threading.Lock)

    def write(self, data: bytes, extension: str) -> Path:
        path = self._free_path(extension)
        path.write_bytes(data)
        self.written.append(path)
        return path

    def save(self, images: Iterable[Image]) -> list[Path]:
        """The images of a reply as files, those sent by address included. Raises DownloadError."""
        return [self._save(image) for image in images]

    def _save(self, image: Image) -> Path:
        data, mime_type = _download(image.url) if image.url else (image.data, image.mime_type)
        return self.write(data, mimetypes.guess_extension(mime_type) or ".bin")

    def _free_path(self, extension: str) -> Path:
        """The next number in the order of writing, across all file types."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._numbering:
            while True:
                self._number += 1
                if not any(self.folder.glob(f"{glob.escape(self.stem)}-{self._number}.*")):
                    path = self.folder / f"{self.stem}-{self._number}{extension}"
                    path.touch(exist_ok=False)
                    return path


def _download(url: str) -> tuple[bytes, str]:
    try:
        response = requests.get(url, timeout=_SECONDS)
        response.raise_for_status()
    except requests.RequestException as error:
        msg = f"the host cannot fetch the image: {error}"
        raise DownloadError(msg) from error
    return response.content, response.headers.get("content-type", "").partition(";")[0]
