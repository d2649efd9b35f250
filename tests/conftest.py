"""`dify_plugin` comes first: importing it patches the sockets that everything else uses."""

from collections.abc import Iterator
from pathlib import Path

import dify_plugin  # noqa: F401
import pytest

from models.backends import cache
from sandbox import Host
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _forget_servers() -> None:
    """A port may belong to another fake server in the next test."""
    cache.clear_all()


@pytest.fixture(scope="session")
def plugin() -> Iterator[Host]:
    """The plugin as the host runs it: two processes that share the calls, so that start and check meet different ones."""
    with Host(plugin_dir=ROOT, processes=2) as host:
        yield host
