"""The plugin process with the largest results: all images are returned, and memory stays bounded."""

import base64
import io
import json
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from sandbox import Host
from sandbox.protocol import user
from tests.conftest import ROOT
from tests.servers.scripted import say, scripted_server

SIDE = 2048
MANY = 10


def png_of_noise() -> bytes:
    """4 megapixels of noise."""
    out = io.BytesIO()
    noise = Random(4).randbytes(SIDE * SIDE * 3)  # noqa: S311
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(out, "PNG", compress_level=0)
    return out.getvalue()


def peak_memory(pid: int) -> int:
    """Peak resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux tells it")
def test_ten_images_of_four_megapixels_use_less_than_half_a_gigabyte() -> None:
    image = base64.b64encode(png_of_noise()).decode()
    answer = json.dumps({"data": [{"b64_json": image}] * MANY})
    assert len(answer) > 160_000_000
    with scripted_server() as server, Host(plugin_dir=ROOT) as plugin:
        server.then(say(200, answer))
        form = {"backend": "openai_images", "base_url": f"{server.url}/v1", "api_key": "k", "dialect": "openai"}
        reply = plugin.invoke("gpt-image-1.5", form, [user("a fox")], {"n": MANY})
        assert len(reply.images) == MANY
        assert peak_memory(plugin.process(0).pid) < 512
