"""The command `run`: one app, one or several turns. The only command that needs the workflow engine."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from graphon.http import HttpStatusError
from httpx import RequestError
from pydantic import JsonValue, TypeAdapter, ValidationError

from sandbox.credentials import Credentials
from sandbox.errors import DownloadError
from sandbox.file_server import served
from sandbox.files import FileStore
from sandbox.host import Host
from sandbox.inputs import InputError
from sandbox.local_llm import Script
from sandbox.node_factory import Services
from sandbox.report import workflow_document, workflow_report
from sandbox.status import StatusLine
from sandbox.workflow import WorkflowRun, run_workflow

_SCRIPT: TypeAdapter[dict[str, str | dict[str, JsonValue]]] = TypeAdapter(dict[str, str | dict[str, JsonValue]])


def run_app(arguments: argparse.Namespace, host: Host, credentials: Credentials, *, stem: str) -> bool:
    """
    Run the app of the arguments and print its report; False if a turn failed or waits for a person.

    Raises:
        UsageError: the app, the inputs or the answers cannot be used.
        DownloadError: an image that a model named by its address cannot be fetched.

    """
    script = _script(arguments.answers)
    with served(FileStore(arguments.out, stem)) as store:
        services = Services(
            host=host,
            store=store,
            credentials=credentials,
            script=script,
            decision=arguments.decide,
            model_name=arguments.model,
        )
        runs = [_run_once(arguments, services, query) for query in arguments.query or [""]]
    return all(run.status in {"succeeded", "partial-succeeded"} for run in runs)


def _run_once(arguments: argparse.Namespace, services: Services, query: str) -> WorkflowRun:
    try:
        with StatusLine(f"running {arguments.file.name}") as status:
            run = run_workflow(
                arguments.file,
                dict(_input(text) for text in arguments.input),
                services,
                query=query,
                files=arguments.files,
                on_event=lambda run: _show_progress(status, run),
            )
    except (HttpStatusError, RequestError) as error:
        msg = f"the host cannot fetch the image: {error}"
        raise DownloadError(msg) from error
    print(json.dumps(workflow_document(run), ensure_ascii=False) if arguments.json else workflow_report(run))
    return run


def _show_progress(status: StatusLine, run: WorkflowRun) -> None:
    status.text = ", ".join(
        f"{node.title}" + (f" (check {node.checks})" if node.checks else "")
        for node in run.nodes
        if node.status == "running"
    )


def _input(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"-i takes NAME=VALUE, not {text!r}"
        raise InputError(msg)
    if not value.startswith("@"):
        return name, value
    paths: Sequence[Path] = [Path(part.removeprefix("@")) for part in value.split(",")]
    return name, paths[0] if len(paths) == 1 else paths


def _script(path: Path | None) -> Script:
    if path is None:
        return {}
    try:
        return _SCRIPT.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        msg = f"{path} is not a YAML mapping of nodes to answers: {error}"
        raise InputError(msg) from error
