"""The fake WebUI replies to the recorded requests like the real A1111 and Forge."""

import base64
import io
import json
import re
from typing import Any

import pytest
import requests
from PIL import Image

from tests.servers.automatic1111 import FakeWebUI, Kind
from tests.servers.automatic1111_recorded import RECORDED, Exchange

GENERATING = {"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image"}
LISTS = {
    "/sdapi/v1/sd-models",
    "/sdapi/v1/sd-vae",
    "/sdapi/v1/sd-modules",
    "/sdapi/v1/samplers",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/upscalers",
    "/sdapi/v1/latent-upscale-modes",
    "/sdapi/v1/prompt-styles",
    "/sdapi/v1/loras",
    "/sdapi/v1/embeddings",
    "/sdapi/v1/scripts",
    "/sdapi/v1/nope",
}
# Requests that the plugin never sends and the fake server does not support.
FOREIGN = {"infotext"}
# Scenarios that depend on timing.
TIMED = {"progress-interrupt", "interrupt-n-iter"}
# The format depends on a setting that the plugin does not change.
FORMATS = {"override-settings", "forge-override-settings"}

COMPARED = [
    pytest.param(exchange, id=str(exchange))
    for exchange in RECORDED
    if exchange.path in GENERATING | LISTS and exchange.scenario not in TIMED and exchange.step not in FOREIGN
    if not (exchange.scenario in FORMATS and exchange.reply.ok and "samples_format" in str(exchange.asked))
]


def answered(exchange: Exchange) -> requests.Response:
    kind: Kind = "forge" if exchange.scenario.startswith("forge") else "a1111"
    locked = exchange.scenario.endswith("auth")
    fake = FakeWebUI(
        kind,
        checkpoints=("tiny-random-sd15",),
        auth=("dify", "secret") if locked and "second" not in exchange.step else None,
        api=exchange.scenario != "no-api-flag",
        scripts=("refiner", "sampler", "seed"),
        loras=() if exchange.path.endswith("loras") else ("paper-cut",),
        vaes=(),
        styles=(),
    )
    if kind == "forge" and exchange.path.endswith("loras") and locked:
        fake.starting = True
    with fake.run():
        return requests.request(
            exchange.method,
            f"{fake.url}{exchange.path}",
            data=exchange.raw or (json.dumps(exchange.asked) if exchange.method == "POST" else None),
            headers={"Content-Type": "application/json", **exchange.headers},
            timeout=10,
        )


@pytest.mark.parametrize("exchange", COMPARED)
def test_the_fake_server_replies_as_recorded(exchange: Exchange) -> None:
    reply = answered(exchange)
    assert (reply.status_code, essence(reply.json())) == (exchange.reply.status, essence(exchange.reply.json()))
    assert ("www-authenticate" in reply.headers) == ("www-authenticate" in exchange.reply.headers)
    if exchange.path in GENERATING - {"/sdapi/v1/extra-single-image"} and reply.ok:
        assert tuple(_size(image) for image in reply.json()["images"]) == tuple(
            words.rpartition(" ")[2] for words in exchange.decoded
        )


def essence(answer: Any) -> Any:
    """The reply without values that vary: error names and texts, counts, names and seeds, but no pixels, times and hashes."""
    match answer:
        case {"images": list(images), "info": str(info)}:
            return len(images), _essence_of_info(json.loads(info))
        case {"image": str()}:
            return "one image"
        case {"detail": list(faults)}:
            return [fault["loc"][-1] if isinstance(fault["loc"][-1], str) else "body" for fault in faults]
        case list(entries):
            return sorted(entries[0]) if entries and isinstance(entries[0], dict) else []
        case {"txt2img": list(), "img2img": list()}:
            return "scripts"
        case _:
            return answer


def _essence_of_info(info: dict[str, Any]) -> dict[str, Any]:
    schedule = re.search(r"Schedule type: ([^,\n]+)", info["infotexts"][0])
    assert schedule
    return {
        "seeds": len(info["all_seeds"]),
        "first": info["index_of_first_image"],
        "sampler": info["sampler_name"],
        "schedule": schedule[1],
        "model": info["sd_model_name"],
        "clip_skip": info["clip_skip"],
        "size": (info["width"], info["height"]),
        "texts": len(info["infotexts"]),
    }


def _size(text: str) -> str:
    width, height = Image.open(io.BytesIO(base64.b64decode(text))).size
    return f"{width}x{height}"
