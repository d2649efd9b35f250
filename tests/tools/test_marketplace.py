"""The rules of the Marketplace: each broken rule is a sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from models.version import VERSION
from tests.tools.conftest import replace
from tools.marketplace import OPEN_POINTS, broken
from tools.package import ROOT

MANIFEST, README, CHANGELOG = "manifest.yaml", "README.md", "CHANGELOG.md"


def drop(root: Path, key: str) -> None:
    """Remove a key of the manifest, `meta.x` for one inside."""
    manifest = yaml.safe_load((root / MANIFEST).read_text("utf-8"))
    *parents, last = key.split(".")
    inner = manifest
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    (root / MANIFEST).write_text(yaml.safe_dump(manifest, allow_unicode=True), "utf-8")


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(text, "utf-8")


def test_the_tree_breaks_no_rule() -> None:
    assert broken(ROOT) == []


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: replace(root, MANIFEST, "author: imagegen", "author: my-dify"), "langgenius or dify"),
        (
            lambda root: replace(root, MANIFEST, "en_US: Image Generation", "en_US: Dify Images"),
            "'Dify Images' contains 'Dify'",
        ),
        (
            lambda root: replace(root, MANIFEST, "2026-11-21T00:00:00Z", "2999-01-01T00:00:00Z"),
            "lies in the future",
        ),
        (lambda root: replace(root, MANIFEST, "2026-11-21T00:00:00Z", "in May"), "is not a time"),
        (lambda root: drop(root, "description.en_US"), "description has no en_US"),
        (lambda root: drop(root, "tags"), "no tags"),
        (lambda root: drop(root, "meta.minimum_dify_version"), "minimum_dify_version is missing"),
        (
            lambda root: write(root, "_assets/icon.svg", "<!-- DIFY_MARKETPLACE_TEMPLATE_ICON_DO_NOT_USE -->"),
            "_assets/icon.svg is the icon of the plugin template",
        ),
        (lambda root: (root / "_assets/icon_dark.svg").unlink(), "_assets/icon_dark.svg is missing"),
        (lambda root: write(root, README, "# Images\n\n图像"), "README.md, line 3: the CJK character '图'"),
        (lambda root: write(root, "readme/README_de_DE.md", "Bilder"), "readme/README_de_DE.md"),
        (lambda root: write(root, "PRIVACY.md", " "), "PRIVACY.md is missing or empty"),
        (lambda root: drop(root, "privacy"), "the manifest's privacy does not name it"),
        (
            lambda root: replace(root, "requirements.txt", "dify-plugin==0.10.2", "dify-plugin==0.4.9"),
            "dify-plugin must be 0.5.0 or later",
        ),
        (
            lambda root: replace(root, "requirements.txt", "dify-plugin==0.10.2", "dify-plugin>=0.10"),
            "dify-plugin>=0.10 has no fixed version",
        ),
        (
            lambda root: replace(root, "pyproject.toml", '">=3.12,<3.13"', '">=3.13"'),
            "requires-python '>=3.13' does not name 3.12",
        ),
        (lambda root: replace(root, CHANGELOG, f"## {VERSION}", "## 9.9.9"), f"CHANGELOG.md has no section {VERSION}"),
        (lambda root: write(root, "env/pyvenv.cfg", "home = /usr"), "env is a virtual environment"),
    ],
)
def test_a_broken_rule_is_a_sentence(tree: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(tree)
    assert sentence in "\n".join(broken(tree))


def test_open_points_are_named_and_break_no_rule(tree: Path) -> None:
    write(tree, CHANGELOG, f"# Changelog\n\n## {VERSION} (unreleased)\n")
    without, unreleased = broken(tree, OPEN_POINTS)
    assert without.startswith("manifest: repo is missing")
    assert unreleased == f"CHANGELOG.md calls {VERSION} unreleased; replace the word by the date of the release"
    write(tree, CHANGELOG, f"# Changelog\n\n## {VERSION} (2027-01-04)\n")
    with (tree / MANIFEST).open("a", encoding="utf-8") as manifest:
        manifest.write("\nrepo: https://example.com/images\n")
    assert broken(tree, OPEN_POINTS) == []


def test_the_version_is_the_manifests() -> None:
    assert yaml.safe_load((ROOT / MANIFEST).read_text("utf-8"))["version"] == VERSION
