"""The command line for people and scripts: help, JSON, another model in a workflow, the doctor, a quick start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Host, cli, user
from sandbox.credentials import Credentials
from sandbox.doctor import Finding, doctor_lines, examined, services_of
from sandbox.examples import EXAMPLES
from sandbox.forms import CredentialField, stored_values
from sandbox.host import ROOT
from sandbox.package import read_package
from sandbox.parameters import Rule, Schema
from tests.sandbox.apps import app, end, llm, start
from tests.sandbox.conftest import PLUGIN
from tests.sandbox.test_cli import Run, _write, run

__all__ = ["run"]

KEY = "sk-marker-key"


def test_without_a_workflow_the_engine_is_not_imported() -> None:
    program = (
        "import sys, sandbox.cli; print([name for name in sys.modules if name.split('.')[0] in {'graphon', 'httpx'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_help_of_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m sandbox {command}" in capsys.readouterr().out.partition("examples:")[2]


def test_invoke_gives_json_to_scripts(run: Run) -> None:
    _, out, _ = run("invoke", "--model", "painter", "--prompt", "a cat", "--json")
    document = json.loads(out)
    assert (document["text"], document["calls"]) == ("a cat", 1)
    assert Path(document["files"][0]).stat().st_size > 0


def test_a_workflow_runs_with_another_model_and_reports_as_json(run: Run, tmp_path: Path) -> None:
    node = llm("a cat", model="job", parameters={"act": "echo", "style": "of another model", "amount": "much"})
    dsl = app("start -> llm", "llm -> end", start=start(), llm=node, end=end(text=["llm", "text"]))
    code, out, _ = run("run", _write(tmp_path / "app.yml", dsl), "--model", "painter", "--json")
    document = json.loads(out)
    assert (code, document["status"], document["nodes"][1]["model"]) == (0, "succeeded", "painter")
    assert '"parameters": {"act": "echo"}' in document["outputs"]["text"]


def test_a_model_is_shown_with_range_default_and_help(run: Run) -> None:
    code, out, _ = run("models", "painter")
    assert code == 0
    assert out.startswith("painter  ")
    assert "--seed  " in out


def test_models_gives_json_to_scripts(run: Run) -> None:
    (painter,) = json.loads(run("models", "painter", "--json")[1])
    assert [rule["name"] for rule in painter["parameter_rules"]] == ["act", "amount", "seed"]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"type": "int", "min": 1, "max": 4}, 4, 5),
        ({"type": "float"}, 0.5, "0.5"),
        ({"type": "int", "min": 1, "max": 4}, "{{#start.steps#}}", "4"),
        ({"type": "boolean"}, True, 1),
        ({"type": "string", "options": ["1:1", "16:9"]}, "16:9", "7:3"),
        ({"type": "text"}, "blur", 3),
    ],
)
def test_only_values_that_fit_go_to_the_other_model(rule: dict[str, object], good: object, bad: object) -> None:
    schema = Schema(model="m", parameter_rules=[Rule.model_validate({"name": "x", **rule})])
    assert schema.fitting({"x": good, "y": good}) == {"x": good}  # type: ignore[dict-item]
    assert schema.fitting({"x": bad}) == {}  # type: ignore[dict-item]


def test_the_doctor_tells_what_works_what_fails_and_what_to_fill(run: Run, tmp_path: Path) -> None:
    right = _write(tmp_path / "right.json", json.dumps({"api_key": "right"}))
    wrong = _write(tmp_path / "wrong.json", json.dumps({"api_key": "wrong"}))
    assert run("doctor", "--credentials", right)[:2][0] == 0
    code, out, _ = run("doctor", "--credentials", wrong)
    assert code == 1
    assert "    Fill in another api_key." in out
    (finding,) = json.loads(run("doctor", "--credentials", wrong, "--json")[1])
    assert (finding["status"], finding["next_step"]) == ("failed", "Fill in another api_key.")


def test_the_doctor_knows_the_services_of_the_real_form() -> None:
    services = services_of(read_package(ROOT).form)
    assert [field.variable for field in services["ComfyUI"]][:1] == ["comfyui_base_url"]
    assert "stability_base_url" in [field.variable for field in services["Stability AI"]]
    assert "waiting" in [field.variable for field in services["settings"]]


def test_the_doctor_asks_nobody_without_a_field(host: Host) -> None:
    findings = examined(host, read_package(PLUGIN), Credentials())
    assert [finding.status for finding in findings] == ["empty"]
    empty = Finding(name="Stability AI", status="empty", next_step="fill in stability_api_key (sk-...)")
    lines = [*doctor_lines([*findings, empty])]
    assert lines[:2] == ["Not in use; to use one of them:", "· Stability AI  fill in stability_api_key (sk-...)"]


def test_a_finding_never_prints_a_value() -> None:
    lines = [*doctor_lines([Finding(name="A", status="works", fields=("a_api_key",), told=("version 1",))])]
    assert lines[:2] == ["✓ A  (a_api_key)", "    version 1"]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ({"type": "text-input"}, "", "is required"),
        ({"type": "text-input"}, 3, "should be string"),
        ({"type": "text-input", "max_length": 3}, KEY, "length should not be greater than 3"),
        ({"type": "select", "options": [{"value": "a"}]}, KEY, "is not in options"),
        ({"type": "switch"}, KEY, "should be true or false"),
    ],
)
def test_a_refused_credential_is_named_without_its_value(
    field: dict[str, object], value: object, complaint: str
) -> None:
    form = [CredentialField.model_validate({"variable": "key", **field})]
    with pytest.raises(ValueError, match=complaint) as refused:
        stored_values(form, {"key": value})
    assert KEY not in str(refused.value)


def test_defaults_are_stored_and_hidden_fields_are_not() -> None:
    form = [
        CredentialField(variable="waiting", type="select", required=False, default="direct"),
        CredentialField.model_validate(
            {"variable": "extra", "type": "text-input", "show_on": [{"variable": "waiting", "value": "polling"}]}
        ),
        CredentialField(variable="debug", type="switch", required=False),
    ]
    assert stored_values(form, {"debug": "true"}) == {"waiting": "direct", "debug": True}


def test_a_launched_host_is_ready_after_start() -> None:
    host = Host(plugin_dir=PLUGIN)
    host.launch()
    with host:
        assert host.invoke("painter", {}, [user("a cat")]).text == "a cat"
