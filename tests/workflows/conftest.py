from collections.abc import Iterator
from pathlib import Path

import pytest
from graphon.model_runtime.entities.llm_entities import LLMPollingConfig

from sandbox import Host
from sandbox.file_server import served
from sandbox.files import FileStore
from sandbox.node_factory import Services

QUICK = LLMPollingConfig(min_check_interval_seconds=0.05, max_check_interval_seconds=0.05, wake_interval_seconds=0.05)


@pytest.fixture
def services(plugin: Host, tmp_path: Path) -> Iterator[Services]:
    with served(FileStore(tmp_path / "out")) as store:
        yield Services(host=plugin, store=store, polling=QUICK)
