"""
The command line of the sandbox: `python -m sandbox run|invoke|serve|models|doctor|check|slots|audit`.

Exit codes: 0 success; 1 the plugin returned an error, the workflow failed or waits for a person; 2 wrong usage
(arguments, inputs, files); 3 the plugin process failed (start, crash, line over the host's limit, timeout);
130 interrupted.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sandbox import audit, protocol
from sandbox.call_report import call_document, call_lines
from sandbox.credentials import Credentials, load_credentials
from sandbox.doctor import doctor_lines, examined
from sandbox.errors import DownloadError, HostError, PluginError, UsageError
from sandbox.examples import EXAMPLES
from sandbox.host import ROOT, CallStatistics, Host, InvokeReply, PollingReply
from sandbox.output_folder import OutputFolder
from sandbox.package import Package, read_package
from sandbox.parameters import ParameterError, Schema, parse_parameters, unknown_parameters
from sandbox.protocol import JsonObject
from sandbox.slots import form_lines, overview_lines, parameter_lines, workflow_credentials
from sandbox.status import StatusLine

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
    def stem(self) -> str:
        """The first part of the names of written files."""
        name = Path(getattr(self.arguments, "file", "")).stem or self.arguments.model
        return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


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
    except DownloadError as error:
        return _complain(str(error), REFUSED)
    except HostError as error:
        return _complain(str(error), BROKEN)
    except (UsageError, OSError) as error:
        return _complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return _complain("interrupted; a job that was already started at a service continues", INTERRUPTED)


def _run_command(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    opened = _open_host(arguments)
    package = read_package(arguments.plugin_dir)  # while the plugin starts
    credentials = load_credentials(_credentials_path(arguments), os.environ, package)
    with opened as host:
        with StatusLine("starting the plugin"):
            host.start()
        command: Callable[[_Session], int] = arguments.command
        return command(_Session(arguments, options, package, credentials, host))


def _open_host(arguments: argparse.Namespace) -> AbstractContextManager[Host]:
    host = Host(plugin_dir=arguments.plugin_dir, processes=arguments.processes)
    host.launch()
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
    common.add_argument("--json", action="store_true", help="the result as JSON on standard output, for scripts")
    common.add_argument("--processes", type=_at_least_one, default=1, help="plugin processes that share the calls (1)")
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A local replacement for Dify.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, help_text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=parents,
            allow_abbrev=False,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_run(add("run", "run a workflow or chatflow", common))
    _add_invoke(add("invoke", "call one model", common))
    _add_serve(add("serve", "open the playground, a page in the browser", common))
    _add_models(add("models", "list models and parameters", common))
    add("doctor", "say for each service what works and what is missing", common).set_defaults(command=_doctor)
    add("check", "check the credentials as a whole, like saving the form", common).set_defaults(command=_check)
    _add_slots(add("slots", "inspect a ComfyUI workflow", common))
    audit.add_arguments(add("audit", "sum up audit lines or records"))
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
        "--answers",
        type=Path,
        help="YAML with the answers of other providers' LLM nodes and of Human Input nodes, by node id or title",
    )
    parser.add_argument(
        "--decide", metavar="ACTION", help="what the person at a Human Input node chooses, e.g. approve"
    )
    parser.add_argument("--model", metavar="NAME", help="this model in place of the workflow's own image models")
    parser.set_defaults(command=_run)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="MODEL", help="every parameter of this model, with help")
    parser.add_argument("--chinese", action="store_true", help="labels and help in Chinese")
    parser.set_defaults(command=_models)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_at_least_one, default=7861, help="port on this machine (7861)")
    parser.add_argument("--demo", action="store_true", help="start stand-in servers: every service without a key")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(command=_serve)


def _add_invoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--system", default="", help="system message")
    parser.add_argument("--image", action="append", type=Path, default=[], help="input image, may be repeated")
    parser.add_argument("--poll", action="store_true", help="start a job and poll it, like a workflow")
    parser.add_argument("--stream", action="store_true", help="stream one chunk per image")
    parser.set_defaults(command=_invoke)


def _add_slots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a workflow, exported or saved, or an image made by ComfyUI")
    parser.add_argument("--comfyui", required=True, metavar="URL", help="the server that runs it")
    parser.add_argument("--api-key", default="", help="Bearer key of a proxy in front of the server")
    parser.set_defaults(command=_slots)


def _run(session: _Session) -> int:
    from sandbox.run_command import run_app  # noqa: PLC0415 - the workflow engine takes seconds to import

    ran = run_app(session.arguments, session.host, session.credentials, stem=session.stem)
    return DONE if ran else REFUSED


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
    files = OutputFolder(arguments.out, session.stem).save(reply.images)
    if arguments.json:
        print(json.dumps(call_document(reply.text, files, reply.usage, calls), ensure_ascii=False))
    else:
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
        raise UsageError(msg)
    images = [protocol.image_file_part(path) for path in arguments.image]
    system = [protocol.system(arguments.system)] if arguments.system else []
    return [*system, protocol.user(*images, arguments.prompt)]


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
    if session.arguments.json:
        print(json.dumps({"valid": True, "fields": sorted(session.credentials.provider)}))
        return DONE
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
    wanted = session.arguments.name
    names = [wanted] if wanted else [*session.package.models, *session.credentials.models]
    schemas = [_schema(session, name) for name in names]
    if session.arguments.json:
        print(json.dumps([schema.model_dump(mode="json") for schema in schemas], ensure_ascii=False))
    elif wanted:
        print("\n".join(parameter_lines(schemas[0], chinese=session.arguments.chinese)))
    else:
        print("\n".join(line for schema in schemas for line in overview_lines(schema)))
    return DONE


def _doctor(session: _Session) -> int:
    with StatusLine("asking the services") as status:
        findings = examined(session.host, session.package, session.credentials, on_service=status.show)
    if session.arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        print("\n".join(doctor_lines(findings)))
    return REFUSED if any(finding.status == "failed" for finding in findings) else DONE


def _serve(session: _Session) -> int:
    from sandbox.playground.serve import serve  # noqa: PLC0415 - an optional group of dependencies

    return serve(session.arguments, session.host, session.package, session.credentials)
