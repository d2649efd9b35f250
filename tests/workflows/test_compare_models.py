"""Three models beside each other: Qwen-Image and Ark by fakes, and `preview`."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow
from tests.fakes import MARKER_KEY
from tests.servers.ark import FakeArk, ark, error
from tests.servers.qwen_image import FakeModelStudio, model_studio

APP = Path(__file__).parents[2] / "workflows" / "compare_models.yml"
MODELS = {"model_a": "qwen-image-2.0", "model_b": "seedream-4.5", "model_c": "preview"}


@pytest.fixture
def studio() -> Iterator[FakeModelStudio]:
    with model_studio(key=MARKER_KEY) as server:
        yield server


@pytest.fixture
def volcano() -> Iterator[FakeArk]:
    with ark(key=MARKER_KEY) as server:
        yield server


@pytest.fixture(params=["direct", "polling"])
def services(services: Services, studio: FakeModelStudio, volcano: FakeArk, request: pytest.FixtureRequest) -> Services:
    form = {
        "dashscope_api_key": MARKER_KEY,
        "dashscope_base_url": studio.url,
        "ark_api_key": MARKER_KEY,
        "ark_base_url": volcano.url,
        "waiting": request.param,
    }
    return replace(services, credentials=Credentials(form))


def compared(services: Services, **models: str) -> WorkflowRun:
    return run_workflow(APP, {"prompt": "a red fox", "aspect_ratio": "1:1", **models}, services)


def captions(run: WorkflowRun) -> list[str]:
    return re.findall(r"!\[([^\]]+)\]\(http", run.outputs["images"])


def test_one_prompt_goes_to_every_model_of_the_form(
    services: Services, studio: FakeModelStudio, volcano: FakeArk
) -> None:
    run = compared(services, **MODELS)
    assert (run.status, run.error) == ("succeeded", "")
    (qwen,) = studio.of_kind("generate")
    assert qwen.body["input"]["messages"][0]["content"] == [{"text": "a red fox"}]
    assert [body["prompt"] for body in volcano.asked] == ["a red fox"]
    assert len(run.files) == 4
    assert run.outputs["failed"] == ""


def test_the_captions_name_model_seconds_and_price(services: Services) -> None:
    first, second, third = captions(compared(services, **MODELS))
    assert re.fullmatch(r"qwen-image-2\.0 · \d+\.\d s · 0\.2 CNY", first)
    assert re.match(r"seedream-4\.5 · \d+\.\d s · ", second)
    assert re.fullmatch(r"preview · \d+\.\d s", third)


def test_a_model_that_fails_is_listed_with_its_reason(services: Services, volcano: FakeArk) -> None:
    volcano.replies.append(error(400, "OutputImageSensitiveContentDetected"))
    run = compared(services, **MODELS)
    assert run.status == "partial-succeeded"
    assert [caption.partition(" ")[0] for caption in captions(run)] == ["qwen-image-2.0", "preview"]
    assert run.outputs["failed"].startswith("seedream-4.5: ")
    assert len(run.files) == 3


def test_if_all_fail_the_run_says_why(services: Services) -> None:
    run = compared(services, model_a="flux-2-pro", model_b="cogview-4", model_c="no-such-model")
    assert run.status == "failed"
    for words in ("No model made an image.", "bfl_api_key", "zhipu_api_key", "no-such-model"):
        assert words in run.error
    assert run.files == ()
