"""The command `serve`: starts the page on this machine only, without any request to other hosts."""

import argparse
import os
import webbrowser
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sandbox.credentials import Credentials
from sandbox.errors import UsageError
from sandbox.host import Host
from sandbox.package import Package
from sandbox.playground.cards import STYLE
from sandbox.playground.credentials import CredentialStore
from sandbox.playground.demo import stand_ins
from sandbox.playground.history import History
from sandbox.playground.session import Playground

ADDRESS = "127.0.0.1"
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def serve(arguments: argparse.Namespace, host: Host, package: Package, credentials: Credentials) -> int:
    """
    Serve the page until the program is interrupted; returns the exit code.

    Raises:
        UsageError: Gradio is not installed, or the port is taken.

    """
    _require_gradio()
    file = Path(arguments.credentials or arguments.plugin_dir / "credentials.json")
    demo: AbstractContextManager[Credentials] = stand_ins() if arguments.demo else nullcontext(credentials)
    with demo as known:
        store = CredentialStore(package.form, known, file)
        _launch(_playground(host, package, store, arguments.out / "playground"), arguments.port, _opener(arguments))
    return 0


def _require_gradio() -> None:
    if find_spec("gradio") is None:
        msg = "the page needs the optional group: uv sync --group playground"
        raise UsageError(msg)


def _playground(host: Host, package: Package, store: CredentialStore, folder: Path) -> Playground:
    folder.mkdir(parents=True, exist_ok=True)
    return Playground(host, package, store, History(folder.resolve()))


def _opener(arguments: argparse.Namespace) -> Callable[[str], object]:
    return (lambda _: None) if arguments.no_browser else webbrowser.open


def _launch(playground: Playground, port: int, open_page: Callable[[str], object]) -> None:
    os.environ.update(_QUIET)
    page = start_page(playground, port)
    address = f"http://{ADDRESS}:{port}"
    print(f"The playground is at {address} (Chinese: {address}/zh). Ctrl+C ends it.", flush=True)
    open_page(address)
    page.block_thread()


def start_page(playground: Playground, port: int) -> Any:
    """Start the page in a thread and return it. Raises UsageError if the port is taken."""
    import gradio as gr  # noqa: PLC0415 - its switches are read from the environment at import

    from sandbox.playground.page import build  # noqa: PLC0415 - imports gradio

    page = build(playground)
    local = ["system-ui", "sans-serif"]  # fonts of this machine; the themes' own come from another host
    try:
        page.queue(default_concurrency_limit=4).launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            footer_links=[],
            css=STYLE,
            theme=gr.themes.Soft(font=local, font_mono=["ui-monospace", "monospace"]),
            allowed_paths=[str(playground.history.folder)],
        )
    except OSError as error:
        msg = f"port {port} cannot be used ({error}); give another one with --port"
        raise UsageError(msg) from error
    return page
