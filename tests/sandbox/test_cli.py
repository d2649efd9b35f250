"""The command line: output and exit codes."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from io import StringIO
from pathlib import Path

import pytest

from sandbox import Host, cli
from sandbox.protocol import JsonObject
from sandbox.status import StatusLine
from tests.sandbox.apps import OTHER_PROVIDER, answer, app, end, llm, start, variable
from tests.sandbox.conftest import PLUGIN

KEY = "sk-marker-key"

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line on the shared plugin processes: exit code, stdout, stderr."""
    monkeypatch.setattr(cli, "_open_host", lambda _: nullcontext(host))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = cli.main([*map(str, arguments), "--plugin-dir", str(PLUGIN), "--out", str(tmp_path / "out")])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_invoke_writes_the_image_and_a_short_report(run: Run, tmp_path: Path) -> None:
    code, out, err = run("invoke", "--model", "painter", "--prompt", "a cat")
    assert (code, err) == (0, "")
    (image,) = (tmp_path / "out").iterdir()
    lines = out.splitlines()
    assert lines[0] == "text: a cat"
    assert lines[1].startswith(f"file: {image} (8x8 PNG, ")
    assert re.fullmatch(r"time: [\d.]+ s in 1 call\(s\), largest line [\d.]+ KiB", lines[2])


def test_invoke_passes_typed_parameters_and_images(run: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG")
    _, out, _ = run(
        *("invoke", "--model", "painter", "--prompt", "a", "--system", "be bold", "--image", photo),
        *("--act", "echo", "--seed", "42", "--amount=0.5"),
    )
    assert '"parameters": {"act": "echo", "amount": 0.5, "seed": 42}' in out
    assert '"photo.png"' in out
    assert "be bold" in out


def test_an_unknown_parameter_is_named_and_dropped_by_the_plugin(run: Run) -> None:
    code, out, err = run("invoke", "--model", "painter", "--prompt", "a", "--act", "echo", "--stepp", "3")
    assert (code, err) == (0, "note: painter has no parameter stepp and drops it; it has: act, amount, seed\n")
    assert '"parameters": {"act": "echo"}' in out


def test_invoke_polls_when_asked(run: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "run_polling", partial(host.run_polling, sleep=lambda _: None))
    code, out, _ = run("invoke", "--model", "job", "--prompt", "a", "--poll")
    assert (code, out.splitlines()[0][:18]) == (0, "text: painted by [")
    assert "in 3 call(s)" in out


def test_invoke_prints_the_plugins_message_unchanged(run: Run) -> None:
    code, out, err = run("invoke", "--model", "painter", "--prompt", "no such size", "--act", "refuse")
    assert (code, out) == (1, "")
    assert err.endswith("no such size\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["invoke", "--model", "nobody", "--prompt", "a"], "unknown model nobody; available: job, painter"),
        (["invoke", "--model", "job", "--prompt", "a", "--seed", "x"], "--seed takes a value of type int, not 'x'"),
        (["invoke", "--model", "job", "--prompt", "a", "--image", "no.png"], "file not found: no.png"),
        (["invoke", "--model", "job", "--prompt", "a", "stray"], "'stray' is neither an option"),
        (
            ["run", "workflows/text_to_image.yml", "-i", "prompt=@a.png"],
            "prompt in input form is text and takes no file",
        ),
        (["run", "missing.yml"], "missing.yml cannot be read"),
        (["check", "--credentials", "missing.json"], "credentials file not found: missing.json"),
    ],
)
def test_wrong_usage_gives_a_message(run: Run, arguments: list[str], complaint: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err


def test_run_reports_nodes_outputs_and_files(run: Run, tmp_path: Path) -> None:
    dsl = app(
        "start -> enhance",
        "enhance -> llm",
        "llm -> end",
        start=start(variable("prompt")),
        enhance=llm("{{#start.prompt#}}", model="gpt-4o", provider=OTHER_PROVIDER),
        llm=llm("{{#enhance.text#}}\n"),
        end=end(text=["llm", "text"]),
    )
    answers = _write(tmp_path / "answers.yml", "enhance: a cat in oil")
    code, out, err = run("run", _write(tmp_path / "app.yml", dsl), "-i", "prompt=a cat", "--answers", answers)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("succeeded in ")
    assert re.fullmatch(r"  ✓ enhance +[\d.]+ s  llm, gpt-4o \(local model\)", lines[2])
    assert re.fullmatch(r"  ✓ llm +[\d.]+ s  llm, painter", lines[3])
    assert re.search(r"text: a cat in oil\n!\[\]\(http://[^/]+/files/tools/", out)
    assert lines[-1].startswith(f"file: {tmp_path / 'out'}/app-")


def test_run_supports_a_chatflow_with_an_attachment(run: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG")
    vision: JsonObject = {"enabled": True, "configs": {"variable_selector": ["sys", "files"], "detail": "high"}}
    dsl = app(
        "start -> llm",
        "llm -> answer",
        mode="advanced-chat",
        start=start(),
        llm=llm("{{#sys.query#}}", parameters={"act": "echo"}, vision=vision),
        answer=answer("{{#llm.text#}}"),
    )
    code, out, _ = run("run", _write(tmp_path / "app.yml", dsl), "--query", "a fox", "--file", photo)
    assert code == 0
    assert "a fox" in out
    assert "photo.png" in out


def test_a_failed_run_reports_the_reason(run: Run, tmp_path: Path) -> None:
    dsl = app("start -> llm", "llm -> end", start=start(), llm=llm("rude", parameters={"act": "refuse"}), end=end())
    code, out, _ = run("run", _write(tmp_path / "app.yml", dsl))
    assert code == 1
    assert re.match(r"failed in [\d.]+ s: .*rude\n", out)
    assert re.search(r"  ✗ llm +[\d.]+ s  llm, painter, see above$", out, re.MULTILINE)


def test_check_prints_fields_and_never_keys(run: Run, tmp_path: Path) -> None:
    file = _write(tmp_path / "credentials.json", json.dumps({"api_key": KEY, "models": {"painter": {"api_key": KEY}}}))
    code, out, err = run("check", "--credentials", file)
    assert (code, err) == (0, "")
    assert out == "The credentials are valid. Fields, including defaults: api_key.\n"


def test_the_environment_overrides_the_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISBEHAVING_API_KEY", "wrong")
    file = _write(tmp_path / "credentials.json", json.dumps({"api_key": "right"}))
    assert run("check", "--credentials", file) == (1, "", "Fill in another api_key.\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [('{"apikey": "%s"}', "no field apikey; it has: api_key"), ('["%s"]', "not a JSON object"), ("%s", "not a JSON")],
)
def test_a_bad_credentials_file_is_named_without_its_content(
    run: Run, tmp_path: Path, content: str, complaint: str
) -> None:
    code, out, err = run("check", "--credentials", _write(tmp_path / "credentials.json", content % KEY))
    assert (code, out) == (2, "")
    assert complaint in err
    assert KEY not in err


def test_models_lists_features_and_parameters(run: Run) -> None:
    assert run("models") == (
        0,
        "job  [vision, polling, structured-output]\n    act, amount, seed\npainter  [vision, structured-output]\n    act, amount, seed\n",
        "",
    )


def test_a_plugin_that_does_not_start_has_its_own_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(PLUGIN, tmp_path / "plugin")
    (tmp_path / "plugin/main.py").write_text("raise SystemExit('no luck')")
    assert cli.main(["models", "--plugin-dir", str(tmp_path / "plugin")]) == 3
    assert "no luck" in capsys.readouterr().err


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "sandbox", "invoke", "--plugin-dir", PLUGIN, "--model", "painter", "--prompt", "a cat"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PLUGIN.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "file: out/painter-" in done.stdout
    assert len([*(tmp_path / "out").iterdir()]) == 1


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_status_line_is_shown_on_a_terminal_and_erased() -> None:
    terminal = _Terminal()
    with StatusLine("painting", terminal, period=0.001):
        while "painting" not in terminal.getvalue():
            time.sleep(0.001)
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_the_status_line_is_silent_elsewhere() -> None:
    stream = StringIO()
    with StatusLine("painting", stream, period=0.001):
        pass
    assert stream.getvalue() == ""
