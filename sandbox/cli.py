"""
The command line of the sandbox: `python -m sandbox run|invoke|check|slots|models|audit`.

Exit codes: 0 success; 1 the plugin returned an error or the workflow failed; 2 wrong usage (arguments, inputs, files);
3 the plugin process failed (start, crash, line over the host's limit, timeout); 130 interrupted.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from graphon.file.enums import FileType
from graphon.http import HttpStatusError
from httpx import RequestError
from pydantic import JsonValue, TypeAdapter, ValidationError

from sandbox import audit, protocol
from sandbox.credentials import Credentials, CredentialsFileError, load_credentials
from sandbox.errors import HostError, PluginError
from sandbox.file_server import served
from sandbox.files import FileStore, file_saver
from sandbox.host import ROOT, CallStatistics, Host, InvokeReply, PollingReply
from sandbox.inputs import InputError
from sandbox.local_llm import Script
from sandbox.node_factory import Services
from sandbox.package import Package, PackageError, read_package
from sandbox.parameters import ParameterError, Schema, parse_parameters, unknown_parameters
from sandbox.protocol import Image, JsonObject
from sandbox.report import call_lines, workflow_report
from sandbox.slots import form_lines, workflow_credentials
from sandbox.status import StatusLine
from sandbox.workflow import WorkflowError, WorkflowRun, run_workflow

_USER_ERRORS = (CredentialsFileError, InputError, OSError, PackageError, ParameterError, WorkflowError)
_DOWNLOAD_ERRORS = (HttpStatusError, RequestError)
_SCRIPT: TypeAdapter[dict[str, str | dict[str, JsonValue]]] = TypeAdapter(dict[str, str | dict[str, JsonValue]])

DONE, REFUSED, MISUSED, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class _Session:
    """The state shared by all commands."""

    arguments: argparse.Namespace
    options: Sequence[str]
    package: Package
    credentials: Credentials
    host: Host

    @property
    def store(self) -> FileStore:
        stem = getattr(self.arguments, "model", None) or Path(getattr(self.arguments, "file", "image")).stem
        return FileStore(self.arguments.out, stem=f"{stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    logging.getLogger("graphon").addHandler(logging.NullHandler())  # the report contains the errors
    parser = _parser()
    arguments, options = parser.parse_known_args(argv)
    if options and arguments.command is not _invoke:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    try:
        if arguments.command is audit.run_audit:
            return int(audit.run_audit(arguments))  # without a plugin process
        return _run_command(arguments, options)
    except PluginError as error:
        return _complain(error.message, REFUSED)
    except HostError as error:
        return _complain(str(error), BROKEN)
    except _USER_ERRORS as error:
        return _complain(str(error), MISUSED)
    except _DOWNLOAD_ERRORS as error:
        return _complain(f"the host cannot fetch the image: {error}", REFUSED)
    except KeyboardInterrupt:
        return _complain("interrupted; a job that was already started at a service continues", INTERRUPTED)


def _run_command(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    package = read_package(arguments.plugin_dir)
    credentials = load_credentials(_credentials_path(arguments), os.environ, package)
    with _open_host(arguments) as host:
        command: Callable[[_Session], int] = arguments.command
        return command(_Session(arguments, options, package, credentials, host))


def _open_host(arguments: argparse.Namespace) -> AbstractContextManager[Host]:
    host = Host(plugin_dir=arguments.plugin_dir, processes=arguments.processes)
    with StatusLine("starting the plugin"):
        host.start()
    return host


def _complain(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


def _credentials_path(arguments: argparse.Namespace) -> Path | None:
    """The given file, else the default file if it exists."""
    if arguments.credentials is not None:
        return Path(arguments.credentials)
    default: Path = arguments.plugin_dir / "credentials.json"
    return default if default.exists() else None


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--credentials", metavar="FILE", help="JSON object of the provider's fields (credentials.json)")
    common.add_argument("--plugin-dir", type=Path, default=ROOT, help="folder of the plugin (this project)")
    common.add_argument("--out", type=Path, default=Path("out"), help="folder for images (out)")
    common.add_argument("--processes", type=_at_least_one, default=1, help="plugin processes that share the calls (1)")
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A local replacement for Dify.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands.add_parser("run", parents=[common], allow_abbrev=False, help="run a workflow or chatflow"))
    _add_invoke(commands.add_parser("invoke", parents=[common], allow_abbrev=False, help="call one model"))
    check = commands.add_parser("check", parents=[common], allow_abbrev=False, help="check the credentials")
    check.set_defaults(command=_check)
    _add_slots(commands.add_parser("slots", parents=[common], allow_abbrev=False, help="inspect a ComfyUI workflow"))
    models = commands.add_parser("models", parents=[common], allow_abbrev=False, help="list models and parameters")
    models.set_defaults(command=_models)
    audit.add_arguments(commands.add_parser("audit", allow_abbrev=False, help="sum up audit lines or records"))
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a number of at least 1, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a Dify app, e.g. workflows/text_to_image.yml")
    parser.add_argument(
        "-i", "--input", action="append", default=[], metavar="NAME=VALUE", help="start input; a file as NAME=@path"
    )
    parser.add_argument(
        "--query", action="append", help="the user's message in a chatflow; repeat the option for more turns"
    )
    parser.add_argument("--file", dest="files", action="append", type=Path, default=[], help="attachment to each turn")
    parser.add_argument(
        "--answers", type=Path, help="YAML with the answers of other providers' LLM nodes, by node id or title"
    )
    parser.set_defaults(command=_run)


def _add_invoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--system", default="", help="system message")
    parser.add_argument("--image", action="append", type=Path, default=[], help="input image, may be repeated")
    parser.add_argument("--poll", action="store_true", help="start a job and poll it, like a workflow")
    parser.add_argument("--stream", action="store_true", help="stream one chunk per image")
    parser.epilog = "Any other --<parameter> value is a parameter of the model: --steps 30 --seed 42 --details."
    parser.set_defaults(command=_invoke)


def _add_slots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a workflow, exported or saved, or an image made by ComfyUI")
    parser.add_argument("--comfyui", required=True, metavar="URL", help="the server that runs it")
    parser.add_argument("--api-key", default="", help="Bearer key of a proxy in front of the server")
    parser.set_defaults(command=_slots)


def _run(session: _Session) -> int:
    arguments = session.arguments
    script = _script(arguments.answers)
    with served(session.store) as store:
        services = Services(host=session.host, store=store, credentials=session.credentials, script=script)
        runs = [_run_once(arguments, services, query) for query in arguments.query or [""]]
    return DONE if all(run.status in {"succeeded", "partial-succeeded"} for run in runs) else REFUSED


def _run_once(arguments: argparse.Namespace, services: Services, query: str) -> WorkflowRun:
    with StatusLine(f"running {arguments.file.name}") as status:
        run = run_workflow(
            arguments.file,
            dict(_input(text) for text in arguments.input),
            services,
            query=query,
            files=arguments.files,
            on_event=lambda run: _show_progress(status, run),
        )
    print(workflow_report(run))
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
    paths = [Path(part.removeprefix("@")) for part in value.split(",")]
    return name, paths[0] if len(paths) == 1 else paths


def _script(path: Path | None) -> Script:
    if path is None:
        return {}
    try:
        return _SCRIPT.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        msg = f"{path} is not a YAML mapping of nodes to answers: {error}"
        raise InputError(msg) from error


def _invoke(session: _Session) -> int:
    arguments = session.arguments
    credentials = session.credentials.of(arguments.model)
    schema = _schema(session, arguments.model)
    parameters = parse_parameters(session.options, schema)
    for note in unknown_parameters(parameters, schema):
        print(note, file=sys.stderr)
    messages = _messages(arguments)
    calls: list[CallStatistics] = []
    with StatusLine(arguments.model) as status:
        if arguments.poll:
            reply: InvokeReply | PollingReply = session.host.run_polling(
                arguments.model, credentials, messages, parameters, on_check=lambda check: _count(calls, check, status)
            )
        else:
            reply = session.host.invoke(arguments.model, credentials, messages, parameters, stream=arguments.stream)
            calls.append(reply.statistics)
    if isinstance(reply, PollingReply) and reply.status == "failed":
        return _complain(str(reply.error), REFUSED)
    files = _save(reply.images, session.store)
    print("\n".join(call_lines(reply.text, files, reply.usage, calls)))
    return DONE


def _count(calls: list[CallStatistics], check: PollingReply, status: StatusLine) -> None:
    calls.append(check.statistics)
    status.text = f"check {len(calls)}"


def _schema(session: _Session, model: str) -> Schema:
    raw = session.host.model_schema(model, session.credentials.of(model))
    if raw is None:
        msg = f"unknown model {model}; available: {', '.join(session.package.models)}"
        raise ParameterError(msg)
    return Schema.model_validate(raw)


def _messages(arguments: argparse.Namespace) -> list[JsonObject]:
    missing = [str(path) for path in arguments.image if not path.is_file()]
    if missing:
        msg = f"file not found: {', '.join(missing)}"
        raise InputError(msg)
    images = [protocol.image_file_part(path) for path in arguments.image]
    system = [protocol.system(arguments.system)] if arguments.system else []
    return [*system, protocol.user(*images, arguments.prompt)]


def _save(images: Sequence[Image], store: FileStore) -> list[Path]:
    saver = file_saver(store)
    for image in images:
        if image.url:
            saver.save_remote_url(image.url, FileType.IMAGE)
        else:
            saver.save_binary_string(image.data, image.mime_type, FileType.IMAGE)
    return store.written


def _check(session: _Session) -> int:
    log = session.host.process(0).log_messages
    log.clear()  # messages from before the check
    with StatusLine("checking the services"):
        session.host.validate_provider_credentials(session.credentials.provider)
        for model, credentials in session.credentials.models.items():
            session.host.validate_model_credentials(model, credentials)
    for line in log:
        print(line)
    fields = ", ".join(sorted(session.credentials.provider)) or "none"
    print(f"The credentials are valid. Fields, including defaults: {fields}.")
    return DONE


def _slots(session: _Session) -> int:
    """Print the form of a workflow and the findings of the plugin's check."""
    arguments, model = session.arguments, session.arguments.file.stem
    form = workflow_credentials(arguments.file, base_url=arguments.comfyui, api_key=arguments.api_key)
    log = session.host.process(0).log_messages
    with StatusLine("reading the workflow"):
        schema = session.host.model_schema(model, form)
    for line in form_lines(Schema.model_validate(schema)):
        print(line)
    log.clear()
    try:
        with StatusLine("checking the server"):
            session.host.validate_model_credentials(model, form)
    finally:  # print the findings also if something is missing on the server
        for line in log:
            print(line)
    return DONE


def _models(session: _Session) -> int:
    for model in (*session.package.models, *session.credentials.models):
        schema = _schema(session, model)
        print(f"{model}  [{', '.join(schema.features or [])}]")
        print(f"    {', '.join(rule.name for rule in schema.parameter_rules) or 'no parameters'}")
    return DONE
