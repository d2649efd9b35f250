"""`dify_plugin` comes first: importing it patches the sockets that everything else uses."""

import dify_plugin  # noqa: F401
import pytest

from models.backends.openai_images.detect import FINDINGS
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _forget_servers() -> None:
    """A port may belong to another fake server in the next test."""
    FINDINGS.kept.clear()
