"""Milliseconds that moderation, quotas, audit and webhook add to one 1 MB image, each alone and everything together.

`uv run python -m benchmarks.teams [--runs 30]`

All of it goes through the plugin process; the service, the moderation endpoint and the receiver are processes of their
own on this machine. The plain request and each row alternate in one run, and a row's value is the median of the
differences. Quotas in Redis need redis-server.
"""

import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

# isort: split

import argparse
import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.overhead import MESSAGES, MODEL, fake_stability, timed
from sandbox.host import Host
from tests.fakes import MARKER_KEY
from tests.servers.moderation import KEY
from tests.servers.redis_server import redis_server
from tests.servers.scripted import free_port
from tools.package import ROOT

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef0123456789abcdef').decode()}"
QUOTAS = "100000/minute, 100000/day, 100000/month, user 100000/day, 90000 USD/day, user 90000 USD/day"
_WARM_UP = 3

type Form = Mapping[str, str]


@contextmanager
def process(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process of this project's Python that ends with the block."""
    started = subprocess.Popen(  # noqa: S603
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def moderation_form(stack: ExitStack) -> Form:
    server = stack.enter_context(process("-m", "tests.servers.moderation"))
    assert server.stdout  # noqa: S101 -- it was asked for as a pipe
    return {"moderation_url": server.stdout.readline().strip(), "moderation_api_key": KEY}


def webhook_form(stack: ExitStack) -> Form:
    port = free_port()
    receiver = process("docs/webhook_receiver.py", str(port), environment={"WEBHOOK_SECRET": SECRET})
    stack.enter_context(receiver)
    return {"webhook_url": f"http://127.0.0.1:{port}/hook", "webhook_secret": SECRET}


def forms(stack: ExitStack, folder: str) -> dict[str, Form]:
    """What each row adds to the form."""
    words = {"forbidden_words": ", ".join(f"word{number}" for number in range(100)), "default_negative_prompt": "text"}
    moderation, webhook = moderation_form(stack), webhook_form(stack)
    store = {"storage_url": f"file://{folder}/store"}
    redis = {"limits": QUOTAS, "redis_url": stack.enter_context(redis_server())}
    return {
        "100 forbidden words, default negative prompt": words,
        "moderation of the prompt": {**moderation, "moderation_url": f"{moderation['moderation_url']}?images=off"},
        "moderation of prompt and image": moderation,
        "six quotas in the file": {"limits": QUOTAS},
        "six quotas in Redis": redis,
        "webhook": webhook,
        "storage in a folder, image and audit record": store,
        "everything": {**words, **moderation, **redis, **webhook, **store},
    }


def rows(runs: int) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, size = stack.enter_context(fake_stability())
        environment = {"IMAGE_GENERATION_STATE_DIR": folder}
        host = stack.enter_context(Host(plugin_dir=ROOT, environment=environment))
        plain = {"stability_api_key": MARKER_KEY, "stability_base_url": url}

        def way(form: Form) -> Callable[[], object]:
            return lambda: host.invoke(MODEL, {**plain, **form}, MESSAGES, {})

        for name, form in forms(stack, folder).items():
            bare, ours = way({}), way(form)
            for warm in (bare, ours) * _WARM_UP:
                warm()
            pairs = [(timed(bare), timed(ours)) for _ in range(runs)]
            added = median(second - first for first, second in pairs)
            yield name, f"{added:.1f} ms"
        yield f"the plain request, {size / 1e6:.2f} MB image", f"{median(first for first, _ in pairs):.1f} ms"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=30)
    print("| added by | median of the pairs |\n| --- | --- |")
    for name, value in rows(options.parse_args().runs):
        print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
