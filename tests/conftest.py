"""`dify_plugin` comes first: importing it patches the sockets that everything else uses."""

import dify_plugin  # noqa: F401
import pytest

from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
