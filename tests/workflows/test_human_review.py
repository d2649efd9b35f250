"""An image that a vision model scores and a person approves."""

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.credentials import Credentials
from sandbox.local_llm import Script
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow

APP = Path(__file__).parents[2] / "workflows" / "human_review.yml"
GOOD: Script = {"review": {"quality": 4, "safety": "safe", "reason": "Clean lettering."}}


@pytest.fixture(params=["direct", "polling"])
def services(services: Services, request: pytest.FixtureRequest) -> Services:
    return replace(services, credentials=Credentials({"waiting": request.param}))


def reviewed(services: Services, script: Script, decision: str | None = None) -> WorkflowRun:
    chosen = replace(services, script=script, decision=decision)
    return run_workflow(APP, {"aspect_ratio": "16:9"}, chosen, query="a reading week")


def test_a_good_image_waits_for_a_person(services: Services) -> None:
    run = reviewed(services, GOOD)
    assert run.status == "paused"
    assert run.error.startswith("Approval waits for a person; --decide approve or --decide reject")
    assert (run.outputs, run.streamed) == ({}, "")


def test_an_approved_image_is_the_answer_with_a_new_link(services: Services) -> None:
    script: Script = {**GOOD, "approval": {"action": "approve", "comment": "for the front page"}}
    run = reviewed(services, script)
    assert (run.status, run.error) == ("succeeded", "")
    made, copy = run.files
    assert made.read_bytes() == copy.read_bytes()
    link = run.streamed.partition("](")[2].partition(")")[0]
    assert services.store.path_of_link(link) == copy
    assert link not in run.node("image").outputs["text"]
    assert "for the front page" in run.streamed


def test_the_person_sees_image_request_and_scores(services: Services) -> None:
    form = reviewed(services, GOOD, "approve").node("approval").outputs["__rendered_content"]
    link = form.partition("](")[2].partition(")")[0]
    assert services.store.path_of_link(link)
    for words in ("a reading week", "Quality / 质量: 4 / 5", "安全: safe", "Clean lettering."):
        assert words in form


def test_the_vision_model_gets_the_image(services: Services) -> None:
    run = reviewed(services, GOOD, "approve")
    (file,) = run.node("fetch").outputs["files"]
    assert file.mime_type == "image/png"
    assert run.node("review").model == "qwen2.5vl:3b (local model)"


def test_a_rejected_image_is_not_in_the_answer(services: Services) -> None:
    run = reviewed(services, {**GOOD, "approval": {"action": "reject", "comment": "too dark"}})
    assert run.status == "succeeded"
    assert "The image was rejected." in run.streamed
    assert "too dark" in run.streamed
    assert "](" not in run.streamed


@pytest.mark.parametrize(("quality", "safety"), [(3, "safe"), (5, "doubtful"), (1, "unsafe")])
def test_a_bad_image_reaches_no_person(services: Services, quality: int, safety: str) -> None:
    run = reviewed(services, {"review": {"quality": quality, "safety": safety, "reason": "A broken hand."}}, "approve")
    assert run.status == "succeeded"
    assert "approval" not in [node.id for node in run.nodes]
    assert f"{quality} / 5" in run.streamed
    assert "A broken hand." in run.streamed
    assert "](" not in run.streamed


def test_without_a_key_and_without_answers_the_image_passes_the_review(services: Services) -> None:
    assert reviewed(services, {}, "approve").status == "succeeded"
