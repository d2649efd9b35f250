"""The preview model through the plugin process: jobs survive processes, input images are shown."""

import io
import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from models.backends.preview.drawing import PlaceholderImage, draw
from models.pipeline import Asked, Call, Waiting
from models.request.conversation import Conversation
from sandbox import Host
from sandbox.errors import HostError
from sandbox.protocol import image_part, user
from tests.conftest import ROOT
from tests.fakes import FakeClock, image_file


def test_a_job_survives_the_process_that_started_it(plugin: Host) -> None:
    """This process starts the job half a minute in the past; the plugin's process finishes it from the state, byte for byte."""
    parameters = {"seed": 7, "width": 256, "height": 192, "details": True, "simulate_seconds": 26}
    call = Call.of("preview", {}, "a user", FakeClock(time.time() - 30))
    started = call.start(Asked(Conversation("a red fox"), parameters))
    assert isinstance(started, Waiting)
    ended = plugin.check_polling("preview", {}, started.state)
    assert (ended.status, ended.error) == ("succeeded", None)
    told = json.loads(ended.text)
    assert (told["seed"], told["width"], told["height"]) == (7, 256, 192)
    drawn_here = draw(PlaceholderImage(model="preview", prompt="a red fox", width=256, height=192, seed=7))
    assert ended.images[0].data == drawn_here


def test_an_image_and_a_mask_are_edited(plugin: Host) -> None:
    pink = image_part(image_file(100, 100, colour=(255, 0, 255)), filename="shirt.png")
    mask = image_part(image_file(100, 100, mode="L", colour=255), filename="mask.png")
    reply = plugin.invoke("preview", {}, [user("a blue cat", pink, mask)], {"width": 400, "height": 400})
    made = Image.open(io.BytesIO(reply.images[0].data)).convert("RGB")
    assert made.size == (400, 400)
    assert len(made.getcolors(400**2) or []) > 100


def test_a_simulated_job_fails_with_a_message_on_timeout(plugin: Host) -> None:
    reply = plugin.run_polling(
        "preview", {}, [user("a fox")], {"simulate_seconds": 30, "timeout": 1}, sleep=lambda _: None
    )
    assert reply.status == "failed"
    assert re.search(r"last known state: step [01]/30", str(reply.error))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
def test_successive_large_images_stay_within_the_declared_memory() -> None:
    with Host(plugin_dir=Path(__file__).parents[2]) as host:
        reply = host.invoke("preview", {}, [user("a fox")], {"width": 4096, "height": 4096, "n": 2}, stream=True)
        status = Path(f"/proc/{host.process(0).pid}/status").read_text("utf-8")
    assert len(reply.images) == 2
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    assert int(peak) < 240 * 1024


def test_a_photo_that_ends_its_decoder_leaves_the_plugin_alive(plugin: Host) -> None:
    photo = (ROOT / "tests/fixtures/images/phone.heic").read_bytes()
    at = photo.index(b"hvc1", photo.index(b"infe"))
    fatal = image_part(photo[:at] + b"\xc5" + photo[at + 1 :], filename="fatal.heic")
    processes = [plugin.process(number).pid for number in range(2)]
    form = {"limits": "formats png heic"}
    with pytest.raises(HostError, match=r"fatal\.heic cannot be used: the file is damaged"):
        plugin.invoke("preview", form, [user("make it blue", fatal)], {})
    drawn = plugin.invoke("preview", form, [user("make it blue", image_part(photo))], {"width": 64, "height": 64})
    assert len(drawn.images) == 1
    assert [plugin.process(number).pid for number in range(2)] == processes
