"""Check the rules of the Dify Marketplace: `uv run python -m tools.marketplace`.

The rules are those of the checks and the review of a pull request to langgenius/dify-plugins. `tools.package` checks what the
daemon refuses. What needs the Marketplace itself is not checked: whether the version is new there.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.package import ROOT, packed_files, read_yaml

type Manifest = Mapping[str, Any]
type Rule = Callable[[Path, Manifest], Iterator[str]]

LANGUAGES = frozenset({"zh_Hans", "ja_JP", "pt_BR"})
LEAST_SDK = (0, 5, 0)
_CJK = re.compile(r"[\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]")
_TEMPLATE_ICONS = ("DIFY_MARKETPLACE_TEMPLATE_ICON_DO_NOT_USE", "M20 20 V80 M20 20 H60")
_ENDORSED = re.compile(r"\b(dify|langgenius|official)\b", re.IGNORECASE)


def _author(_: Path, manifest: Manifest) -> Iterator[str]:
    if re.search("langgenius|dify", manifest["author"]):
        yield f"manifest: author {manifest['author']} contains langgenius or dify, which are reserved"


def _wording(_: Path, manifest: Manifest) -> Iterator[str]:
    for text in (manifest["name"].replace("_", " "), *manifest["label"].values()):
        if found := _ENDORSED.search(text):
            yield f"manifest: {text!r} contains {found[0]!r}, which sounds like an endorsement by Dify"


def _created(_: Path, manifest: Manifest) -> Iterator[str]:
    try:
        created = datetime.fromisoformat(str(manifest["created_at"]))
    except ValueError:
        yield f"manifest: created_at {manifest['created_at']} is not a time like 2026-11-21T00:00:00Z"
        return
    if created.tzinfo is None or created > datetime.now(UTC):
        yield f"manifest: created_at {manifest['created_at']} has no time zone or lies in the future"


def _described(_: Path, manifest: Manifest) -> Iterator[str]:
    yield from (
        f"manifest: {key} has no en_US"
        for key in ("label", "description")
        if not str(manifest.get(key, {}).get("en_US", "")).strip()
    )
    if not manifest.get("tags"):
        yield "manifest: no tags; people find a plugin by its tags"
    if not manifest.get("meta", {}).get("minimum_dify_version"):
        yield "manifest: meta.minimum_dify_version is missing"


def _icons(root: Path, manifest: Manifest) -> Iterator[str]:
    provider = read_yaml(root / manifest["plugins"]["models"][0])
    named = [manifest.get(key) for key in ("icon", "icon_dark")]
    named += [name for key, texts in provider.items() if key.startswith("icon_") for name in texts.values()]
    for name in sorted({name for name in named if name}):
        path = root / "_assets" / name
        if not path.is_file() or not path.stat().st_size:
            yield f"_assets/{name} is missing or empty"
        elif any(mark in path.read_text("utf-8", errors="ignore") for mark in _TEMPLATE_ICONS):
            yield f"_assets/{name} is the icon of the plugin template"


def _readme(root: Path, _: Manifest) -> Iterator[str]:
    for number, line in enumerate((root / "README.md").read_text("utf-8").splitlines(), start=1):
        if found := _CJK.search(line):
            yield f"README.md, line {number}: the CJK character {found[0]!r}; translations live in readme/"
    for path in sorted((root / "readme").glob("*")):
        if path.name.removeprefix("README_").removesuffix(".md") not in LANGUAGES:
            yield f"{path.relative_to(root)}: the Marketplace knows README_<language>.md of {', '.join(sorted(LANGUAGES))}"


def _privacy(root: Path, manifest: Manifest) -> Iterator[str]:
    path = root / "PRIVACY.md"
    if manifest.get("privacy") != "PRIVACY.md" or not path.is_file() or not path.read_text("utf-8").strip():
        yield "PRIVACY.md is missing or empty, or the manifest's privacy does not name it"


def _dependencies(root: Path, _: Manifest) -> Iterator[str]:
    lines = (root / "requirements.txt").read_text("utf-8").splitlines()
    pins = dict(re.findall(r"^([\w.\-\[\]]+)==([\w.]+)", "\n".join(lines), re.MULTILINE))
    for line in lines:
        if line.strip() and not line.startswith("#") and "==" not in line:
            yield f"requirements.txt: {line.strip()} has no fixed version, so that an installation may differ"
    sdk = tuple(int(part) for part in pins.get("dify-plugin", "0").split("."))
    if sdk < LEAST_SDK:
        yield f"requirements.txt: dify-plugin must be {'.'.join(map(str, LEAST_SDK))} or later"
    python = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"].get("requires-python", "")
    if "3.12" not in python:
        yield f"pyproject.toml: requires-python {python!r} does not name 3.12, on which plugins are installed"


def _release_notes(root: Path, manifest: Manifest) -> Iterator[str]:
    heading = re.compile(rf"^## {re.escape(manifest['version'])}\b", re.MULTILINE)
    if not heading.search((root / "CHANGELOG.md").read_text("utf-8")):
        yield f"CHANGELOG.md has no section {manifest['version']}; the pull request needs release notes"


def _virtualenv(root: Path, _: Manifest) -> Iterator[str]:
    yield from (f"{path.parent} is a virtual environment" for path in packed_files(root) if path.name == "pyvenv.cfg")


def _repository(_: Path, manifest: Manifest) -> Iterator[str]:
    if not str(manifest.get("repo", "")).startswith("https://"):
        yield "manifest: repo is missing; the reviewers ask for the address of the source and of a place for questions"


def _unreleased(root: Path, manifest: Manifest) -> Iterator[str]:
    if f"## {manifest['version']} (unreleased)" in (root / "CHANGELOG.md").read_text("utf-8"):
        yield f"CHANGELOG.md calls {manifest['version']} unreleased; replace the word by the date of the release"


# fmt: off
RULES: tuple[Rule, ...] = (
    _author, _wording, _created, _described, _icons, _readme, _privacy, _dependencies, _release_notes, _virtualenv,
)
# fmt: on
OPEN_POINTS: tuple[Rule, ...] = (_repository, _unreleased)
"""Needed for a submission, not for a build."""


def broken(root: Path, rules: tuple[Rule, ...] = RULES) -> list[str]:
    """A sentence for each broken rule."""
    manifest = read_yaml(root / "manifest.yaml")
    return [sentence for rule in rules for sentence in rule(root, manifest)]


def main() -> int:
    for sentence in broken(ROOT, OPEN_POINTS):
        print(f"before a submission: {sentence}")
    found = broken(ROOT)
    for sentence in found:
        print(f"fault: {sentence}", file=sys.stderr)
    if not found:
        print(f"the {len(RULES)} rules of the Marketplace hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
