"""`dify_plugin` is imported first: it patches the sockets for gevent."""

from collections.abc import Iterator
from pathlib import Path

import dify_plugin  # noqa: F401
import pytest
from hypothesis import settings

from models.backends import cache
from sandbox import Host
from tests.fakes import FakeClock
from tests.servers.object_store import ObjectStoreServer, object_store_server

ROOT = Path(__file__).parents[1]

settings.register_profile("project", deadline=None)  # the speed of the machine is not what is tested
settings.load_profile("project")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _forget_servers() -> None:
    """Another fake server may reuse a port in the next test."""
    cache.clear_all()


@pytest.fixture(scope="session")
def plugin() -> Iterator[Host]:
    """The plugin in two processes that share the calls, so that start and check use different ones."""
    with Host(plugin_dir=ROOT, processes=2) as host:
        yield host


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStoreServer]:
    """A server with the S3 API, in a process of its own."""
    with object_store_server() as server:
        yield server
