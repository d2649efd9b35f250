from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Host, Limits

PLUGIN = Path(__file__).parent / "fixtures_plugin"
BARE = Path(__file__).parent / "fixtures_bare"


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Two processes of the faulty test plugin, shared by tests that do not kill them."""
    with Host(plugin_dir=PLUGIN, processes=2) as host:
        yield host


@pytest.fixture
def fragile_host() -> Iterator[Host]:
    """One process of the bare plugin with short limits, for a test that kills it."""
    with Host(plugin_dir=BARE, limits=Limits(line=100_000, heartbeat=0.5, call=1.0)) as host:
        yield host
