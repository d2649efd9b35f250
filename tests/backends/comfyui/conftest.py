from collections.abc import Iterator

import pytest

from models.backends.comfyui import definitions, listening
from tests.servers.comfyui import ComfyUIServer


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What one test's server answered or refused is nothing that the next one's port may inherit."""
    definitions._KEPT.clear()
    definitions._AWAY.clear()
    listening._NO_SOCKET.clear()


@pytest.fixture
def server() -> Iterator[ComfyUIServer]:
    """A stand-in ComfyUI 0.10.0, to be changed by the test before or while it runs."""
    with ComfyUIServer() as running:
        yield running
