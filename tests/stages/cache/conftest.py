from pathlib import Path

import pytest

from models.settings import Settings
from models.stages.cache.key import account_name
from models.stages.cache.shelf import Shelf, shelf_of
from tests.fakes import FakeClock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A form without fields; the cache lies in a folder."""
    return Settings({}, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path)})


@pytest.fixture
def shelf(settings: Settings, clock: FakeClock) -> Shelf:
    return shelf_of(settings, account_name(settings), clock)
