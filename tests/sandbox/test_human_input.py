"""Human Input nodes: the run pauses, or a decision that was given before takes the place of the person."""

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Host
from sandbox.files import FileStore
from sandbox.human_input import Decision
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.sandbox.apps import app, end, human_input, start, variable
from tests.sandbox.test_cli import Run, run

__all__ = ["run"]

APP = app(
    "start -> gate",
    "gate[approve] -> yes",
    "gate[reject] -> no",
    start=start(variable("prompt")),
    gate=human_input("Keep {{#start.prompt#}}? {{#$output.comment#}}", "approve", "reject", comment="fine"),
    yes=end(kept=["gate", "comment"], content=["gate", "__rendered_content"], chosen=["gate", "__action_value"]),
    no=end(refused=["gate", "comment"], chosen=["gate", "__action_id"]),
)


@pytest.fixture
def services(host: Host, tmp_path: Path) -> Services:
    return Services(host=host, store=FileStore(tmp_path / "out"))


def test_without_a_decision_the_run_pauses_and_names_the_choices(services: Services) -> None:
    paused = run_workflow(APP, {"prompt": "a fox"}, services)
    assert paused.status == "paused"
    assert paused.error == "gate waits for a person; --decide approve or --decide reject decides in the person's place"
    assert [(node.id, node.status) for node in paused.nodes] == [("start", "succeeded"), ("gate", "paused")]


def test_a_decision_takes_its_branch_with_the_defaults_of_the_form(services: Services) -> None:
    done = run_workflow(APP, {"prompt": "a fox"}, replace(services, decision="approve"))
    assert (done.status, done.error) == ("succeeded", "")
    assert done.outputs == {"kept": "fine", "content": "Keep a fox? fine", "chosen": "Approve"}


def test_the_script_fills_the_form_and_wins_over_the_decision(services: Services) -> None:
    script: dict[str, Decision] = {"gate": {"action": "reject", "comment": "too dark"}}
    done = run_workflow(APP, {"prompt": "a fox"}, replace(services, decision="approve", script=script))
    assert done.outputs == {"refused": "too dark", "chosen": "reject"}


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        ("keep", "gate has no action keep; it has: approve, reject"),
        ({"comment": "x"}, "gate has no action None; it has: approve, reject"),
        ({"action": "reject", "mood": "x"}, "the form of gate has no field mood; it has: comment"),
    ],
)
def test_a_decision_that_the_form_does_not_have_fails_with_the_choices(
    services: Services, decision: Decision, sentence: str
) -> None:
    failed = run_workflow(APP, {"prompt": "a fox"}, replace(services, script={"gate": decision}))
    assert failed.status == "failed"
    assert sentence in failed.error


def test_the_command_line_decides(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gate.yml").write_text(APP, "utf-8")
    code, out, _ = run("run", tmp_path / "gate.yml", "-i", "prompt=a fox", "--decide", "approve")
    assert (code, out.splitlines()[0].split()[0]) == (0, "succeeded")
    code, out, _ = run("run", tmp_path / "gate.yml", "-i", "prompt=a fox")
    assert (code, out.splitlines()[0].split()[0]) == (1, "paused")
    assert "--decide reject" in out
