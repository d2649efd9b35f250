"""The engine waits by a streaming call or by polling, as set in the credentials."""

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.sandbox.apps import answer, app, end, llm, start, template

PROVIDER = "imagegen/image_generation/image_generation"
SLOW = app(
    "start -> llm",
    "llm -> end",
    start=start(),
    llm=llm(
        "a fox",
        model="preview",
        provider=PROVIDER,
        parameters={"width": 64, "height": 48, "n": 2, "simulate_seconds": 2, "details": True},
    ),
    end=end(text=["llm", "text"], files=["llm", "files"]),
)


@pytest.mark.parametrize(("waiting", "polled"), [("", False), ("direct", False), ("polling", True)])
def test_the_credentials_define_how_a_node_waits(services: Services, waiting: str, *, polled: bool) -> None:
    chosen = replace(services, credentials=Credentials({"waiting": waiting} if waiting else {}))
    run = run_workflow(SLOW, {}, chosen)
    assert (run.status, run.error) == ("succeeded", "")
    assert (run.node("llm").checks > 0) is polled
    assert len(run.outputs["files"]) == len(run.files) == 2
    assert ("<think>" in run.outputs["text"]) is not polled
    assert run.outputs["text"].count("![](") == 2


def test_files_of_a_run_are_numbered_in_their_order(services: Services) -> None:
    run = run_workflow(SLOW, {}, services)
    assert [Path(path).stem for path in run.files] == ["image-1", "image-2"]


@pytest.mark.parametrize("waiting", ["direct", "polling"])
def test_the_text_of_a_polling_node_does_not_stream(services: Services, waiting: str) -> None:
    image = llm("a fox", model="preview", provider=PROVIDER, parameters={"width": 64, "height": 48, "details": True})
    single = app("start -> llm", "llm -> end", start=start(), llm=image, end=end(text=["llm", "text"]))
    run = run_workflow(single, {}, replace(services, credentials=Credentials({"waiting": waiting})))
    assert run.outputs["text"].startswith('{"model": "preview"')
    assert run.streamed == ("" if waiting == "polling" else run.outputs["text"])


@pytest.mark.parametrize("waiting", ["direct", "polling"])
def test_a_template_node_shows_the_image_of_a_chat_in_both_ways(services: Services, waiting: str) -> None:
    image = llm("{{#sys.query#}}", model="preview", provider=PROVIDER, parameters={"width": 64, "height": 48})
    chat = app(
        "start -> llm",
        "llm -> shown",
        "shown -> answer",
        mode="advanced-chat",
        start=start(),
        llm=image,
        shown=template("{{ image }}", image=["llm", "text"]),
        answer=answer("before {{#llm.text#}} after\n{{#shown.output#}}"),
    )
    run = run_workflow(chat, {}, replace(services, credentials=Credentials({"waiting": waiting})), query="a fox")
    streamed = run.streamed.replace(run.node("shown").outputs["output"], "IMAGE")
    assert streamed == ("before IMAGE after\nIMAGE" if waiting == "direct" else "before  after\nIMAGE")
