"""A real redis-server from the system's packages, empty, on a free port."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotThereError

from tests.servers.scripted import free_port


@contextmanager
def redis_server(password: str = "") -> Iterator[str]:
    """Its address. The test is skipped where redis-server is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    options += ["--requirepass", password] if password else []
    url = f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            _wait_for(url)
            yield url
        finally:
            server.kill()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except NotThereError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
