"""The two Qwen-Image apps on Dify's engine, with the plugin process for their image nodes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.fakes import MARKER_KEY, image_file
from tests.servers.qwen_image import SIGNATURE, FakeModelStudio, model_studio

WORKFLOWS = Path(__file__).parents[2] / "workflows"
POSTER = "雨中的街道，水彩。招牌上写着“晨光茶舍”，下方小字“Morning Light Tea”。"


@pytest.fixture
def studio() -> Iterator[FakeModelStudio]:
    with model_studio(key=MARKER_KEY) as server:
        yield server


@pytest.fixture
def services(services: Services, studio: FakeModelStudio) -> Services:
    provider = Credentials({"dashscope_api_key": MARKER_KEY, "dashscope_base_url": studio.url})
    return replace(services, credentials=provider, script={"enhancer": POSTER})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(image_file(1200, 800, kind="JPEG"))
    return path


def test_a_poster_keeps_chinese_and_english_text_exactly(services: Services, studio: FakeModelStudio) -> None:
    run = run_workflow(
        WORKFLOWS / "qwen_image_poster.yml", {"aspect_ratio": "3:4"}, services, query="a tea shop in the rain"
    )
    assert (run.status, run.error) == ("succeeded", "")
    (asked,) = studio.of_kind("generate")
    assert asked.body["input"]["messages"][0]["content"] == [{"text": POSTER}]
    assert asked.body["parameters"]["size"] == "880*1184"
    assert asked.body["parameters"]["prompt_extend"] is False


def test_the_answer_of_the_poster_app_shows_image_and_prompt(services: Services) -> None:
    run = run_workflow(WORKFLOWS / "qwen_image_poster.yml", {}, services, query="a tea shop in the rain")
    answer = str(run.outputs["answer"])
    assert re.match(r"!\[\]\(http://[^/]+/files/tools/", answer)
    assert answer.endswith(POSTER)
    (poster,) = run.files
    assert Image.open(poster).size == (880, 1184)
    image = run.node("image")
    assert (f"{image.price:.2f}", image.currency) == ("0.20", "CNY")


def test_an_edit_returns_both_urls_size_and_seed(services: Services, studio: FakeModelStudio, photo: Path) -> None:
    run = run_workflow(
        WORKFLOWS / "edit_image_api.yml", {"image": photo, "instruction": "make the T-shirt blue --seed 42"}, services
    )
    assert (run.status, run.error) == ("succeeded", "")
    assert str(run.outputs["image_url"]).endswith(SIGNATURE)
    assert services.store.path_of_link(str(run.outputs["stored_url"])) == run.files[0]
    assert (run.outputs["width"], run.outputs["height"], run.outputs["seed"]) == (1248, 832, 42)
    assert run.outputs["notices"] == [
        "The address in `image_url` is public and expires 24 hours after the image was made."
    ]
    content = studio.of_kind("generate")[0].body["input"]["messages"][0]["content"]
    assert [list(item) for item in content] == [["image"], ["text"]]
    assert content[1]["text"] == "make the T-shirt blue"


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("qwen_image_poster", {}), ("edit_image_api", {"instruction": "make the T-shirt blue"})],
)
def test_a_refusal_ends_the_run_with_message_and_next_step(
    name: str, inputs: dict[str, object], services: Services, studio: FakeModelStudio, photo: Path
) -> None:
    studio.fail("generate", 400, "DataInspectionFailed", "inappropriate content")
    given = {**inputs, "image": photo} if name == "edit_image_api" else inputs
    run = run_workflow(WORKFLOWS / f"{name}.yml", given, services, query="x")
    assert run.status == "failed"
    assert "content filter" in run.error
    assert MARKER_KEY not in repr(run)


def test_the_owners_limits_apply_in_the_published_app(services: Services, studio: FakeModelStudio, photo: Path) -> None:
    provider = {**services.credentials.provider, "forbidden_words": "watermark"}
    strict = replace(services, credentials=Credentials(provider))
    run = run_workflow(
        WORKFLOWS / "edit_image_api.yml", {"image": photo, "instruction": "remove the watermark"}, strict
    )
    assert run.status == "failed"
    assert "(forbidden_words)" in run.error
    assert studio.requests == []
