"""The package: what would be packed, and what must not be."""

import subprocess
from pathlib import Path

from tools.package import untracked_faults


def test_a_stray_file_is_not_packed_by_accident(tmp_path: Path) -> None:
    """It may be somebody's keys."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # noqa: S607 -- the developer's git
    (tmp_path / "main.py").touch()
    (tmp_path / "keys.json").touch()
    subprocess.run(["git", "add", "main.py"], cwd=tmp_path, check=True)  # noqa: S607 -- the developer's git
    found = list(untracked_faults(tmp_path, [Path("keys.json"), Path("main.py")]))
    assert found == ["keys.json is not under version control: add it or remove it"]


def test_outside_a_repository_nothing_is_said(tmp_path: Path) -> None:
    assert list(untracked_faults(tmp_path, [Path("main.py")])) == []
