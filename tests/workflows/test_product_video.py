"""The app that makes a video of a product photo, on Dify's engine, with the plugin process and a fake of Ark."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.fakes import MARKER_KEY, image_file
from tests.servers.ark import FakeArk, ark
from tests.video_files import mp4

APP = Path(__file__).parents[2] / "workflows" / "product_video.yml"
SCENE = "on a marble table"


@pytest.fixture
def server() -> Iterator[FakeArk]:
    with ark(key=MARKER_KEY) as fake:
        yield fake


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(image_file(800, 600, kind="JPEG"))
    return path


def with_ark(services: Services, server: FakeArk, **form: str) -> Services:
    provider = {"ark_api_key": MARKER_KEY, "ark_base_url": server.url, **form}
    return replace(services, credentials=Credentials(provider))


@pytest.mark.parametrize("waiting", ["direct", "polling"])
def test_a_photo_becomes_a_scene_and_the_scene_a_video(
    services: Services, server: FakeArk, photo: Path, waiting: str
) -> None:
    given = {"photo": photo, "motion": "slow push in", "aspect_ratio": "9:16"}
    run = run_workflow(APP, given, with_ark(services, server, waiting=waiting), query=SCENE)
    assert (run.status, run.error) == ("succeeded", "")
    image, video = server.asked
    assert image["prompt"].startswith(SCENE)
    text, frame = video["content"]
    assert (text["text"], frame["role"], video["ratio"]) == ("slow push in", "first_frame", "9:16")
    assert frame["image_url"]["url"].startswith("data:image/")
    scene, _, clip = run.files  # the HTTP node stores the scene once more
    assert (clip.suffix, clip.read_bytes()) == (".mp4", mp4())
    answer = str(run.outputs["answer"])
    links = [part.partition(")")[0] for part in answer.split("](")[1:]]
    assert [services.store.path_of_link(link) for link in links] == [scene, clip]
    assert run.streamed == answer
    node = run.node("video")
    assert (f"{node.price:.4f}", node.currency) == ("0.6098", "USD")


def test_a_refused_video_ends_the_run_with_message_and_next_step(
    services: Services, server: FakeArk, photo: Path
) -> None:
    fault = {"code": "OutputVideoSensitiveContentDetected", "message": "sensitive"}
    server.videos.states.append({"status": "failed", "error": fault})
    run = run_workflow(APP, {"photo": photo, "aspect_ratio": "1:1"}, with_ark(services, server), query=SCENE)
    assert run.status == "failed"
    assert "filter" in run.error
    assert MARKER_KEY not in repr(run)
