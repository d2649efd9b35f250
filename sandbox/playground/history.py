"""What was made here: one line of JSON per image beside the images, found again by the bytes of the file."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from sandbox.playground.jobs import Job


class Entry(BaseModel):
    """One image with the settings that made it. `file` is a name in the folder of the history."""

    file: str
    sha256: str
    model: str
    prompt: str
    values: dict[str, JsonValue]
    seed: str = ""
    size: str = ""
    price: str = ""
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, JsonValue]:
        """The parameters with the seed that was used."""
        return self.values | ({"seed": int(self.seed)} if self.seed.lstrip("-").isdecimal() else {})


@dataclass
class History:
    """The history in a folder; a line that cannot be read is skipped, for the file belongs to the user."""

    folder: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def file(self) -> Path:
        return self.folder / "history.jsonl"

    def add(self, job: Job) -> None:
        """Remember every image of a job."""
        lines = [
            Entry(
                file=path.name,
                sha256=_digest(path.read_bytes()),
                model=job.schema.model,
                prompt=job.prompt,
                values=job.values,
                seed=receipt.seed,
                size=receipt.size,
                price=receipt.price,
                seconds=receipt.seconds,
                notices=job.notices,
            ).model_dump_json()
            for path, receipt in zip(job.paths, job.receipts, strict=False)
        ]
        with self._lock, self.file.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def entries(self) -> list[Entry]:
        """The newest first; images that were deleted are left out."""
        if not self.file.exists():
            return []
        found = [entry for line in self.file.read_text("utf-8").splitlines() if (entry := _parsed(line))]
        return [entry for entry in reversed(found) if (self.folder / entry.file).is_file()]

    def of_image(self, data: bytes) -> Entry | None:
        """The entry of an image that was made here, by its bytes."""
        digest = _digest(data)
        return next((entry for entry in self.entries() if entry.sha256 == digest), None)


def _parsed(line: str) -> Entry | None:
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
