from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Host

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def plugin() -> Iterator[Host]:
    """The plugin as the host runs it: two processes that share the calls, so that start and check meet different ones."""
    with Host(plugin_dir=ROOT, processes=2) as host:
        yield host
