from collections.abc import Iterator

import pytest

from tests.servers.comfyui import ComfyUIServer


@pytest.fixture
def server() -> Iterator[ComfyUIServer]:
    """A fake ComfyUI 0.10.0 that a test can change before or while it runs."""
    with ComfyUIServer() as running:
        yield running
