"""A workflow whose model is named by a variable, and one whose service is down."""

from dataclasses import replace

import pytest
from pydantic import JsonValue

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.fakes import MARKER_KEY
from tests.sandbox.apps import app, end, llm, start, variable
from tests.servers.stability import FakeStability

PROVIDER = "imagegen/image_generation/image_generation"
SIZE: dict[str, JsonValue] = {"width": 64, "height": 64, "details": True}
NAMED = app(
    "start -> llm",
    "llm -> end",
    start=start(variable("model")),
    llm=llm("a fox --model {{#start.model#}}", model="auto", provider=PROVIDER, parameters=SIZE),
    end=end(text=["llm", "text"], files=["llm", "files"]),
)
DOWN = app(
    "start -> llm",
    "llm -> end",
    start=start(),
    llm=llm("a fox", model="comfyui-flux", provider=PROVIDER, parameters={**SIZE, "fallback": "sd3.5-large,preview"}),
    end=end(text=["llm", "text"], files=["llm", "files"]),
)


@pytest.mark.parametrize("waiting", ["direct", "polling"])
@pytest.mark.parametrize(("model", "answers"), [("sd3.5-medium", "sd3.5-medium"), ("preview", "preview")])
def test_a_variable_names_the_model(services: Services, waiting: str, model: str, answers: str) -> None:
    with FakeStability(key=MARKER_KEY) as fake:
        form = {"stability_api_key": MARKER_KEY, "stability_base_url": fake.url, "waiting": waiting}
        run = run_workflow(NAMED, {"model": model}, replace(services, credentials=Credentials(form)))
    assert (run.status, run.error) == ("succeeded", "")
    assert f'"answered_by": "{answers}"' in run.outputs["text"]
    assert len(run.files) == 1


def test_the_default_image_needs_no_fail_branch(services: Services) -> None:
    form = {"comfyui_base_url": "http://127.0.0.1:9"}
    run = run_workflow(DOWN, {}, replace(services, credentials=Credentials(form)))
    assert (run.status, run.error) == ("succeeded", "")
    assert '"answered_by": "preview"' in run.outputs["text"]
    assert "sd3.5-large was left out: sd3.5-large needs Stability AI" in run.outputs["text"]
    assert len(run.files) == 1
