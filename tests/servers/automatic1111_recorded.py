"""The recorded exchanges with a real A1111 1.10.1 and a real Forge, as objects."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.backends.reply import Reply
from tests.fakes import image_file

FIXTURES = Path(__file__).parents[1] / "fixtures" / "automatic1111"
STAND_IN = base64.b64encode(image_file(8, 8)).decode()


@dataclass(frozen=True)
class Exchange:
    scenario: str
    step: str
    method: str
    path: str
    asked: Mapping[str, Any]
    reply: Reply
    decoded: tuple[str, ...]
    raw: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.scenario}: {self.step}"


def _recorded() -> Iterator[Exchange]:
    for file in sorted(FIXTURES.glob("*/exchanges.json")):
        for entry in json.loads(file.read_text("utf-8")):
            if "response" in entry:  # the others are remarks of the recorder
                yield _exchange(file.parent.name, entry)


def _exchange(scenario: str, entry: dict[str, Any]) -> Exchange:
    request, response = entry["request"], entry["response"]
    headers = {name.lower(): value for name, value in response["headers"].items()}
    body = json.dumps(_uncut(response["json"])).encode()
    return Exchange(
        scenario,
        entry["step"],
        request["method"],
        request["path"],
        request.get("json") or {},
        Reply(response["status"], headers, body),
        tuple(response.get("recorder_decoded_images", ())),
        request.get("raw_body", ""),
        request.get("headers", {}),
    )


def _uncut(answer: Any) -> Any:
    """Where the recorder cut an image, another one stands in; cut lists lose the recorder's remark."""
    if isinstance(answer, dict) and isinstance(answer.get("images"), list):
        return {**answer, "images": [STAND_IN if "cut by" in image[:99] else image for image in answer["images"]]}
    if isinstance(answer, list):
        return [item for item in answer if not (isinstance(item, str) and "cut by the recorder" in item)]
    return answer


RECORDED = tuple(_recorded())


def one(scenario: str, step: str) -> Exchange:
    (found,) = [e for e in RECORDED if (e.scenario, e.step) == (scenario, step)]
    return found
