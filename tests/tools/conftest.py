"""A copy of the package's files that a test may spoil."""

import shutil
from pathlib import Path

import pytest

from tools.package import ROOT, packed_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package's files."""
    for path in packed_files(ROOT):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    return tmp_path


def replace(root: Path, path: str, old: str, new: str) -> None:
    text = (root / path).read_text("utf-8")
    assert old in text
    (root / path).write_text(text.replace(old, new), "utf-8")
