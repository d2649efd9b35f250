"""Edit an image through the app `workflows/edit_image_api.yml`, published as an API. Needs Python 3.12 and `requests`.

    export DIFY_API_KEY=app-...  DIFY_BASE_URL=https://dify.example.com/v1
    python edit_image_api.py photo.jpg "Change the red T-shirt to blue, keep pose and background" edited.png

The run is streamed, because an edit may take longer than a proxy's idle timeout. An edit costs money: a request that may
have been accepted is never sent twice, and a lost stream is resumed by polling the run's id.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

MAX_MB = 10  # Dify's own limit for images, and the default of the plugin's limits
TIMEOUT = (10.0, 60.0)  # seconds to connect and to read: Dify sends a ping every ten seconds
ATTEMPTS = 3
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


class EditError(Exception):
    """The edit failed; the message contains the reason."""


@dataclass(frozen=True)
class EditedImage:
    """`image_url` is the service's own address, valid for 24 hours; `stored_url` is Dify's copy, valid for minutes."""

    image_url: str
    stored_url: str
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    notices: tuple[str, ...] = ()


class EditImageApi:
    """One published app. Times are seconds: `longest` for a whole run, `pause` before the first retry."""

    def __init__(
        self,
        api_key: str,
        base_url: str = "https://api.dify.ai/v1",
        *,
        user: str = "edit-image-api",
        longest: float = 900.0,
        pause: float = 1.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.user = user
        self.longest = longest
        self.pause = pause
        # Uploads and status checks are retried after any transient error ...
        self._patient = _session(api_key, pause, read=ATTEMPTS - 1, statuses=(429, 500, 502, 503, 504))
        # ... a run only if it was not accepted: a refused connection, or a reply that the service is too busy.
        self._careful = _session(api_key, pause, read=0, statuses=(429, 503))

    def edit(self, path: Path, instruction: str) -> EditedImage:
        """Edit the image in `path`. Raises EditError."""
        mime_type, data = checked(path)
        try:
            run = self._run(self._upload(path.name, data, mime_type), instruction)
        except requests.RequestException as error:
            raise EditError(f"Dify could not be reached: {error}") from error
        if run.get("status") != "succeeded":
            raise EditError(str(run.get("error") or f"the run ended as {run.get('status')}"))
        return _edited(run["outputs"])

    def _upload(self, name: str, data: bytes, mime_type: str) -> str:
        reply = self._patient.post(
            f"{self.base_url}/files/upload",
            files={"file": (name, data, mime_type)},
            data={"user": self.user},
            timeout=TIMEOUT,
        )
        return str(_checked_reply(reply).json()["id"])

    def _run(self, upload_id: str, instruction: str) -> Mapping[str, Any]:
        image_input = {"type": "image", "transfer_method": "local_file", "upload_file_id": upload_id}
        inputs = {"image": image_input, "instruction": instruction}
        run_id = ""
        try:
            with self._careful.post(
                f"{self.base_url}/workflows/run",
                json={"inputs": inputs, "response_mode": "streaming", "user": self.user},
                stream=True,
                timeout=TIMEOUT,
            ) as stream:
                for event in _events(_checked_reply(stream)):
                    run_id = event.get("workflow_run_id") or run_id
                    if event.get("event") == "workflow_finished":
                        return dict(event["data"])
        except requests.RequestException:
            if not run_id:
                raise
        if not run_id:
            raise EditError("the stream ended before the run began")
        return self._followed(run_id)

    def _followed(self, run_id: str) -> Mapping[str, Any]:
        """Poll a run whose stream was lost until it ends."""
        end = time.monotonic() + self.longest
        while time.monotonic() < end:
            reply = self._patient.get(f"{self.base_url}/workflows/run/{run_id}", timeout=TIMEOUT)
            run: Mapping[str, Any] = _checked_reply(reply).json()
            if run["status"] != "running":
                return {**run, "outputs": _parsed(run.get("outputs"))}
            time.sleep(3 * self.pause)
        raise EditError(f"the run {run_id} is still running after {self.longest:.0f} seconds")


def checked(path: Path) -> tuple[str, bytes]:
    """MIME type and bytes of a valid image. Raises EditError before anything is sent."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EditError(f"{path} cannot be read: {error.strerror}") from error
    mime_type = next((mime for start, mime in SIGNATURES.items() if data.startswith(start)), None)
    if mime_type is None:
        raise EditError(f"{path.name} is not a PNG, JPEG or WebP file")
    if len(data) > MAX_MB * 1_000_000:
        raise EditError(f"{path.name} has {len(data) / 1e6:.1f} MB; at most {MAX_MB} MB may be sent")
    return mime_type, data


def download(image: EditedImage, *, pause: float = 1.0) -> bytes:
    """Download the edited image. Its URLs are signed, so the app's key is not sent. Raises EditError."""
    try:
        session = _session("", pause, read=ATTEMPTS - 1, statuses=(429, 500, 502, 503, 504))
        return _checked_reply(session.get(image.image_url or image.stored_url, timeout=TIMEOUT)).content
    except requests.RequestException as error:
        raise EditError(f"the image could not be fetched: {error}") from error


def _session(api_key: str, pause: float, *, read: int, statuses: tuple[int, ...]) -> requests.Session:
    """A session with these retries; `Retry-After` takes precedence over the growing pause."""
    session = requests.Session()
    if api_key:
        session.headers["Authorization"] = f"Bearer {api_key}"
    retry = Retry(
        total=ATTEMPTS - 1,
        connect=ATTEMPTS - 1,
        read=read,
        status_forcelist=statuses,
        allowed_methods=None,
        backoff_factor=pause,
        raise_on_status=False,
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def _events(stream: requests.Response) -> Iterator[Mapping[str, Any]]:
    """The events of Dify's stream, without pings."""
    for line in stream.iter_lines():
        if line.startswith(b"data:"):
            yield json.loads(line.removeprefix(b"data:"))


def _checked_reply(reply: requests.Response) -> requests.Response:
    if reply.ok:
        return reply
    try:
        said = str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = reply.reason
    raise EditError(f"HTTP {reply.status_code}: {said}")


def _parsed(outputs: object) -> object:
    # The run's record holds its outputs as an object or as JSON text, depending on Dify's version.
    return json.loads(outputs) if isinstance(outputs, str) else outputs


def _edited(outputs: Mapping[str, Any]) -> EditedImage:
    return EditedImage(
        image_url=outputs.get("image_url") or "",
        stored_url=outputs.get("stored_url") or "",
        width=outputs.get("width"),
        height=outputs.get("height"),
        seed=outputs.get("seed"),
        notices=tuple(outputs.get("notices") or ()),
    )


def main() -> int:
    """Edit one file. The exit code is 1 on failure and 2 on wrong usage."""
    if len(sys.argv) != 4 or "DIFY_API_KEY" not in os.environ:  # noqa: PLR2004
        print(__doc__, file=sys.stderr)
        return 2
    source, instruction, target = sys.argv[1:]
    api = EditImageApi(os.environ["DIFY_API_KEY"], os.environ.get("DIFY_BASE_URL", "https://api.dify.ai/v1"))
    try:
        image = api.edit(Path(source), instruction)
        Path(target).write_bytes(download(image))
    except EditError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target}: {image.width}×{image.height}, seed {image.seed}, {image.image_url}", *image.notices, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
