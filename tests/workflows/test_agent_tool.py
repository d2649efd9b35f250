"""The tool for agents: it returns the image's address as text."""

from dataclasses import replace
from pathlib import Path

import pytest
from graphon.file.models import File

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow

APP = Path(__file__).parents[2] / "workflows" / "agent_tool.yml"


@pytest.fixture(params=["direct", "polling"])
def waiting(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


def test_all_outputs_are_text(services: Services, waiting: str) -> None:
    """Files would become messages of their own, which agents drop."""
    run = run_workflow(
        APP, {"prompt": "a fox --seed 7 --hue 3"}, replace(services, credentials=Credentials({"waiting": waiting}))
    )
    assert (run.status, run.error) == ("succeeded", "")
    assert not any(isinstance(value, File | list | dict) for value in run.outputs.values())
    assert services.store.path_of_link(run.outputs["image_url"]) == run.files[0]
    assert run.outputs["markdown"] == f"![image]({run.outputs['image_url']})"
    assert run.outputs["seed"] == "7"
    assert run.outputs["notices"].startswith("`--hue` stays in the prompt")


def test_with_a_storage_the_address_lasts(services: Services, waiting: str, tmp_path: Path) -> None:
    form = {
        "storage_url": f"file://{tmp_path}/kept",
        "storage_public_url": "https://cdn.example.com/images",
        "waiting": waiting,
    }
    run = run_workflow(APP, {"prompt": "a fox"}, replace(services, credentials=Credentials(form)))
    assert (run.status, run.error) == ("succeeded", "")
    address = run.outputs["image_url"]
    assert address.startswith("https://cdn.example.com/images/")
    kept = tmp_path / "kept" / address.removeprefix("https://cdn.example.com/images/")
    assert kept.read_bytes() == run.files[0].read_bytes()


def test_a_refusal_reaches_the_agent_as_its_sentence(services: Services, waiting: str) -> None:
    form = {"forbidden_words": "fox", "waiting": waiting}
    run = run_workflow(APP, {"prompt": "a fox"}, replace(services, credentials=Credentials(form)))
    assert run.status == "failed"
    assert "fox" in run.error
