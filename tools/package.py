"""Check the package by the daemon's rules and write the `.difypkg`: `uv run python -m tools.package [--out DIR]`.

The rules are those of manifest and provider declarations, of globs and ignore files, and the limits of an upload.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pathspec
import yaml

ROOT = Path(__file__).parent.parent
MAX_UNPACKED = 15 * 1024 * 1024  # bytes; the smallest upload limit in use (the Dify API without a proxy)
MAX_FIELDS, MAX_OPTIONS, MAX_RULES, MAX_TEXT = 32, 128, 128, 1024
_EPOCH = (2026, 1, 1, 0, 0, 0)  # fixed, for reproducible packages
# fmt: off
_TAGS = frozenset((
    "search", "image", "videos", "weather", "finance", "design", "travel", "social", "news", "medical", "productivity",
    "education", "business", "entertainment", "utilities", "other", "agent", "rag", "trigger",
))
# fmt: on


def packed_files(root: Path) -> list[Path]:
    """The files of the package, relative to `root`, filtered by `.difyignore`."""
    patterns = (root / ".difyignore").read_text("utf-8").splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines(patterns)
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        place = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not ignored.match_file(f"{(place / name).as_posix()}/")]
        found += [place / name for name in names if not ignored.match_file((place / name).as_posix())]
    return sorted(found)


def glob_like_the_daemon(pattern: str, files: list[Path]) -> list[Path]:
    """Go's `filepath.Match`: `*` does not cross a slash and there is no `**`."""
    wanted = pattern.split("/")
    return [path for path in files if len(path.parts) == len(wanted) and all(map(fnmatchcase, path.parts, wanted))]


def faults(root: Path) -> Iterator[str]:
    """Everything that the daemon would refuse, as sentences."""
    files = packed_files(root)
    manifest = read_yaml(root / "manifest.yaml")
    yield from _manifest_faults(root, manifest, files)
    for source in manifest["plugins"]["models"]:
        provider = read_yaml(root / source)
        yield from _provider_faults(root, provider, manifest, files)
    yield from _content_faults(root, files)
    yield from untracked_faults(root, files)
    yield from _requirements_faults(root)


def _manifest_faults(root: Path, manifest: Mapping[str, Any], files: list[Path]) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", manifest["author"]):
        yield "manifest: author has characters that the daemon refuses"
    if not re.fullmatch(r"[a-z0-9_-]{1,128}", manifest["name"]):
        yield "manifest: name has characters that the daemon refuses"
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", manifest["version"]):
        yield "manifest: version is not x.y.z"
    if len(manifest["plugins"]["models"]) != 1:
        yield "manifest: the daemon keeps exactly one model provider"
    if unknown := set(manifest["tags"]) - _TAGS:
        yield f"manifest: unknown tags {sorted(unknown)}"
    for key in ("label", "description"):
        yield from (
            f"manifest: {key}.{language} is too long"
            for language, text in manifest[key].items()
            if len(text) >= MAX_TEXT
        )
    yield from (
        f"manifest: {key} names no packed file in _assets/"
        for key in ("icon", "icon_dark")
        if not _asset(manifest[key], files)
    )
    if Path(manifest["privacy"]) not in files or not (root / manifest["privacy"]).read_text("utf-8").strip():
        yield "manifest: privacy names no file with text"
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    if "version" in project or "version" not in project.get("dynamic", ()):
        yield "pyproject.toml has a version of its own; the version stands in manifest.yaml alone"


def _provider_faults(
    root: Path, provider: Mapping[str, Any], manifest: Mapping[str, Any], files: list[Path]
) -> Iterator[str]:
    if provider["provider"] != manifest["name"]:
        yield "provider: its name differs from the manifest's"
    for key in ("icon_small", "icon_large", "icon_small_dark", "icon_large_dark"):
        yield from (
            f"provider: {key} names no packed file in _assets/"
            for name in provider[key].values()
            if not _asset(name, files)
        )
    for form in ("provider_credential_schema", "model_credential_schema"):
        yield from _form_faults(form, provider[form]["credential_form_schemas"])
    for source in [provider["extra"]["python"]["provider_source"], *provider["extra"]["python"]["model_sources"]]:
        if Path(source) not in files:
            yield f"provider: source {source} is not packed"
    llm = provider["models"]["llm"]
    cards = [path for pattern in llm["predefined"] for path in glob_like_the_daemon(pattern, files)]
    cards = [path for path in cards if path.name != "_position.yaml"]
    yield from _card_faults(root, cards, read_yaml(root / llm["position"]))


def _form_faults(form: str, fields: list[dict[str, Any]]) -> Iterator[str]:
    if len(fields) > MAX_FIELDS:
        yield f"{form}: more than {MAX_FIELDS} fields"
    for field in fields:
        name = field["variable"]
        if "required" not in field:
            yield f"{form}: {name} does not set `required`; the defaults of SDK and daemon differ"
        if field["type"] == "switch":
            yield f"{form}: {name} is a switch, which Dify does not render"
        if len(field.get("options", ())) > MAX_OPTIONS:
            yield f"{form}: {name} has more than {MAX_OPTIONS} options"
        if not isinstance(field.get("default", ""), str):
            yield f"{form}: the default of {name} is not a string"


def _card_faults(root: Path, cards: list[Path], position: list[str]) -> Iterator[str]:
    names = []
    for path in cards:
        card = read_yaml(root / path)
        names.append(card["model"])
        if not card.get("label", {}).get("en_US"):
            yield f"{path}: no label.en_US"
        if f"{card['model']}.yaml" != path.name:
            yield f"{path}: the file is not named after its model"
        if len(card["parameter_rules"]) > MAX_RULES:
            yield f"{path}: more than {MAX_RULES} parameters"
        if "polling" in card["features"] or "structured-output" not in card["features"]:
            yield f"{path}: structured-output must be declared, and polling must not"
    if not cards:
        yield "provider: the daemon's glob finds no model card"
    if sorted(names) != sorted(position):
        yield f"_position.yaml and the cards differ in {sorted(set(names) ^ set(position))}"


def _content_faults(root: Path, files: list[Path]) -> Iterator[str]:
    for name in ("main.py", "README.md", "LICENSE", "PRIVACY.md", "requirements.txt", "pyproject.toml", "uv.lock"):
        if Path(name) not in files:
            yield f"{name} is not packed"
    outside = {"tests", "sandbox", "benchmarks", "tools", ".venv", ".git"}
    yield from (f"{path} must not be packed" for path in files if path.parts[0] in outside or path.suffix == ".pyc")
    size = sum((root / path).stat().st_size for path in files)
    if size > MAX_UNPACKED:
        yield f"the package unpacks to {size:,} bytes, more than {MAX_UNPACKED:,}"


def untracked_faults(root: Path, files: list[Path]) -> Iterator[str]:
    """An untracked file may contain a key. Without a repository this is not checked."""
    if not (root / ".git").exists():
        return
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603 -- our own arguments
    tracked = {Path(name) for name in listed.split("\0")}
    yield from (f"{path} is not under version control: add or remove it" for path in files if path not in tracked)


def _requirements_faults(root: Path) -> Iterator[str]:
    if requirements(root) != (root / "requirements.txt").read_text("utf-8"):
        yield "requirements.txt does not match the lock file: run `uv run python -m tools.package --requirements`"


def requirements(root: Path) -> str:
    """The runtime dependencies of the lock file in requirements format."""
    command = [
        os.environ.get("UV", "uv"),
        "export",
        "--frozen",
        "--no-dev",
        "--no-hashes",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603 -- our own arguments


def write_package(root: Path, target: Path) -> int:
    """Write the package and return its size in bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for path in packed_files(root):
            entry = zipfile.ZipInfo(path.as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (root / path).read_bytes())
    return target.stat().st_size


def _asset(name: str, files: list[Path]) -> bool:
    return len(name) <= 128 and Path("_assets") / name in files  # noqa: PLR2004


def read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        sys.exit(f"{path} is not YAML: {error}")


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the .difypkg")
    options.add_argument("--requirements", action="store_true", help="first write requirements.txt from the lock file")
    asked = options.parse_args()
    if asked.requirements:
        (ROOT / "requirements.txt").write_text(requirements(ROOT), "utf-8")
    found = list(faults(ROOT))
    for fault in found:
        print(f"fault: {fault}", file=sys.stderr)
    if found:
        return 1
    manifest = read_yaml(ROOT / "manifest.yaml")
    target = asked.out / f"{manifest['author']}-{manifest['name']}_{manifest['version']}.difypkg"
    files = packed_files(ROOT)
    unpacked = sum((ROOT / path).stat().st_size for path in files)
    packed = write_package(ROOT, target)
    print(f"{target}: {len(files)} files, {unpacked:,} bytes unpacked, {packed:,} bytes packed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
