"""The package check: faults are reported as sentences, and development files are not packed."""

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.catalog import cards
from sandbox import Host, user
from tests.tools.conftest import replace
from tools.package import ROOT, faults, glob_like_the_daemon, packed_files, untracked_faults, write_package


def test_the_package_has_no_fault() -> None:
    assert [fault for fault in faults(ROOT) if "version control" not in fault] == []


def test_development_files_are_not_packed() -> None:
    packed = packed_files(ROOT)
    outside = {"tests", "sandbox", "benchmarks", "tools", ".venv", ".git", ".ci"}
    assert not [path for path in packed if path.parts[0] in outside or "__pycache__" in path.parts]
    assert {Path("main.py"), Path("manifest.yaml"), Path("uv.lock"), Path("requirements.txt")} <= set(packed)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "_assets/icon_dark.svg").unlink(), "icon_dark names no packed file in _assets/"),
        (
            lambda root: replace(root, "pyproject.toml", 'dynamic = ["version"]', 'version = "0.2.0"'),
            "pyproject.toml has a version of its own",
        ),
        (lambda root: replace(root, "manifest.yaml", "author: imagegen", "author: Image Gen"), "author has characters"),
        (lambda root: replace(root, "manifest.yaml", "- design", "- images"), "unknown tags ['images']"),
        (lambda root: (root / "PRIVACY.md").write_text(""), "privacy names no file with text"),
        (
            lambda root: (root / "models/llm/preview/preview.yaml").unlink(),
            "_position.yaml and the cards differ in ['preview']",
        ),
        (
            lambda root: (root / "models/llm/preview/preview.yaml").rename(root / "models/llm/preview/other.yaml"),
            "the file is not named after its model",
        ),
        (
            lambda root: replace(root, "models/llm/preview/preview.yaml", "- structured-output\n", "- polling\n"),
            "structured-output must be declared, and polling must not",
        ),
        (lambda root: (root / "LICENSE").unlink(), "LICENSE is not packed"),
        (lambda root: (root / "big.bin").write_bytes(bytes(16 * 1024 * 1024)), "the package unpacks to"),
        (
            lambda root: (root / "requirements.txt").write_text("requests\n"),
            "requirements.txt does not match the lock file",
        ),
    ],
)
def test_a_fault_is_reported_as_a_sentence(tree: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(tree)
    found = "\n".join(faults(tree))
    assert sentence in (found or "no fault")


def test_the_glob_matches_as_in_the_daemon() -> None:
    files = [Path("models/llm/a.yaml"), Path("models/llm/x/b.yaml"), Path("models/llm/x/y/c.yaml")]
    assert glob_like_the_daemon("models/llm/*/*.yaml", files) == [Path("models/llm/x/b.yaml")]
    assert glob_like_the_daemon("models/llm/*.yaml", files) == [Path("models/llm/a.yaml")]


def test_the_same_tree_gives_the_same_package(tmp_path: Path) -> None:
    first, second = tmp_path / "a.difypkg", tmp_path / "b.difypkg"
    assert write_package(ROOT, first) == write_package(ROOT, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as package:
        assert package.testzip() is None
        assert [Path(name) for name in package.namelist()] == packed_files(ROOT)


def test_an_untracked_file_is_a_fault(tmp_path: Path) -> None:
    """It may contain keys."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # noqa: S607 -- the developer's git
    (tmp_path / "main.py").touch()
    (tmp_path / "keys.json").touch()
    subprocess.run(["git", "add", "main.py"], cwd=tmp_path, check=True)  # noqa: S607 -- the developer's git
    found = list(untracked_faults(tmp_path, [Path("keys.json"), Path("main.py")]))
    assert found == ["keys.json is not under version control: add or remove it"]


def test_outside_a_repository_untracked_files_are_ignored(tmp_path: Path) -> None:
    assert list(untracked_faults(tmp_path, [Path("main.py")])) == []


def test_the_packed_plugin_runs(tmp_path: Path) -> None:
    """The package contains every file that the process reads."""
    write_package(ROOT, tmp_path / "plugin.difypkg")
    with zipfile.ZipFile(tmp_path / "plugin.difypkg") as package:
        package.extractall(tmp_path / "plugin")
    with Host(plugin_dir=tmp_path / "plugin") as host:
        reply = host.invoke("preview", {}, [user("一只红狐狸 --size 256x256")])
        assert len(reply.images) == 1
        for model in cards():
            assert host.model_schema(model, {})
