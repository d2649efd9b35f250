"""The stand-in servers of the tests in a process of their own, so that every service can be tried without a key."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.credentials import Credentials
from sandbox.errors import UsageError
from sandbox.host import ROOT


class DemoError(UsageError):
    """The stand-in servers did not start."""


@contextmanager
def stand_ins() -> Iterator[Credentials]:
    """Run the stand-ins; gives the credentials that lead to them. They end with the block."""
    command = [sys.executable, "-m", "tests.servers.stand_ins"]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _credentials(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


def _credentials(line: str) -> Credentials:
    try:
        found = json.loads(line)
    except ValueError as error:
        msg = "the stand-in servers did not start; see above. They are part of a checkout, in tests/servers/"
        raise DemoError(msg) from error
    return Credentials(provider=found["provider"], models=found["models"])
