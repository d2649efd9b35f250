from collections.abc import Iterator

import pytest

from tests.servers.comfy_api import FakeComfyAPI, comfy_api

KEY = "comfyui-0123456789abcdef"


@pytest.fixture
def cloud() -> Iterator[FakeComfyAPI]:
    """A fake of Comfy Cloud and deployments."""
    with comfy_api(KEY, hosted=True) as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[FakeComfyAPI]:
    """A fake of comfy-api-proxy."""
    with comfy_api(KEY) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["hosted", "proxy"])
def service(request: pytest.FixtureRequest) -> Iterator[FakeComfyAPI]:
    with comfy_api(KEY, hosted=request.param) as running:
        yield running
