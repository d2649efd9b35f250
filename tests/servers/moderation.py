"""A fake moderation endpoint, as strict as OpenAI's: one image per request, data URLs only, a key.

A text is flagged by the words of `WORDS`, an image when its middle is green.
"""

import base64
import io
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from PIL import Image

from tests.servers.busy import BusyServer
from tests.servers.scripted import Act, say

KEY = "sk-fake-moderation-key"
WORDS = {"gore": "violence", "nude": "sexual"}
CATEGORIES = ("sexual", "sexual/minors", "violence", "hate")


class FakeModeration:
    """`inputs` are the received ones; the `acts` answer first, in order."""

    def __init__(self, *, key: str = KEY) -> None:
        self.key = key
        self.inputs: list[Any] = []
        self.models: list[str | None] = []
        self.acts: deque[Act] = deque()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake.answer(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = BusyServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.acts:
            self.acts.popleft()(handler)
        elif handler.path != "/v1/moderations":
            say(404, '{"error": {"message": "Not found"}}')(handler)
        elif handler.headers.get("authorization") != f"Bearer {self.key}":
            said = {"error": {"message": f"Incorrect API key: {handler.headers.get('authorization')}"}}
            say(401, json.dumps(said))(handler)
        else:
            self._judge(handler, json.loads(body))

    def _judge(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        self.inputs.append(asked["input"])
        self.models.append(asked.get("model"))
        given = asked["input"]
        images = [] if isinstance(given, str) else [part for part in given if part["type"] == "image_url"]
        if len(images) > 1:
            say(400, '{"error": {"message": "Too many images in request, max 1"}}')(handler)
            return
        found = _of_image(images[0]["image_url"]["url"]) if images else _of_text(given)
        scores = {name: (0.9 if name in found else 0.01) for name in CATEGORIES}
        judged = {
            "flagged": bool(found),
            "categories": {name: name in found for name in CATEGORIES},
            "category_scores": scores,
        }
        say(200, json.dumps({"id": "modr-1", "model": "omni-moderation", "results": [judged]}))(handler)


def _of_text(text: str) -> set[str]:
    return {category for word, category in WORDS.items() if word in text}


def _of_image(url: str) -> set[str]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2]))) as image:
        red, green, blue = image.convert("RGB").getpixel((image.width // 2, image.height // 2))  # type: ignore[misc]
    return {"sexual"} if green > 200 and red < 100 and blue < 100 else set()


if __name__ == "__main__":
    with FakeModeration() as server:
        print(server.url, flush=True)  # noqa: T201
        threading.Event().wait()
