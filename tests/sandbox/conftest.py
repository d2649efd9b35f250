from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Host, Limits

PLUGIN = Path(__file__).parent / "fixtures_plugin"


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Two processes of the misbehaving plugin, shared by the tests that leave them alive."""
    with Host(plugin_dir=PLUGIN, processes=2) as host:
        yield host


@pytest.fixture(scope="module")
def fragile_host() -> Iterator[Host]:
    """One process with short limits, for the tests that kill it: whoever comes next meets a new one."""
    limits = Limits(line=100_000, heartbeat=1.0, call=2.0)
    with Host(plugin_dir=PLUGIN, environment={"HEARTBEAT_INTERVAL": "0.1"}, limits=limits) as host:
        yield host
