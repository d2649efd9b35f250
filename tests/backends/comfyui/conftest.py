from collections.abc import Iterator

import pytest

from tests.servers.comfyui import ComfyUIServer


@pytest.fixture
def server() -> Iterator[ComfyUIServer]:
    """A stand-in ComfyUI 0.10.0, to be changed by the test before or while it runs."""
    with ComfyUIServer() as running:
        yield running
