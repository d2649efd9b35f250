"""The documents have valid links and name every model, field, parameter and app."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.backends.registry import BACKENDS
from models.catalog import card_files
from models.parameters import VOCABULARY
from tools.package import packed_files

ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "readme" / "README_zh_Hans.md")
PAGES = (
    *READMES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "PRIVACY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
WORKFLOW_PAGES = (ROOT / "docs" / "workflows.md", ROOT / "docs" / "workflows_zh_Hans.md")
APPS = sorted((ROOT / "workflows").glob("*.yml"))

PAGES_OF = {"auto": "routing"}
"""Pages that have another name than their backend."""
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
HTML_SOURCE = re.compile(r'(?:src|href)="([^"]+)"')
COMMAND = re.compile(r"python -m ((?:sandbox|tools|benchmarks)[\w.]*)")

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
readme = pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)


def links(text: str) -> Iterator[str]:
    prose = FENCE.sub("", text)
    yield from MARKDOWN_LINK.findall(prose)
    yield from HTML_SOURCE.findall(prose)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings: lower case, without punctuation, a hyphen for each space."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """The relative links of a page without a target file or heading."""
    found = []
    for link in links(path.read_text("utf-8")):
        place, _, heading = link.partition("#")
        target = path.parent / place if place else path
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (heading and heading not in anchors(target.read_text("utf-8"))):
            found.append(link)
    return found


def names_code(text: str, name: str) -> bool:
    """Whether the text contains the name as a separate code span."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None


def form_fields() -> list[str]:
    provider: dict[str, Any] = yaml.safe_load((ROOT / "provider" / "image_generation.yaml").read_text("utf-8"))
    forms = (provider["provider_credential_schema"], provider["model_credential_schema"])
    return [field["variable"] for form in forms for field in form["credential_form_schemas"]]


def test_broken_links_and_headings_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# One, two\n[a](#one-two) [b](#three) [c](none.md) ![d](https://e) <img src="no.png">\n', "utf-8")
    assert broken(page) == ["#three", "none.md", "no.png"]


@page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page) == []


@page
def test_every_command_names_an_existing_module(page: Path) -> None:
    for module in COMMAND.findall(page.read_text("utf-8")):
        place = ROOT.joinpath(*module.rstrip(".").split("."))
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


@readme
def test_every_model_is_named(readme: Path) -> None:
    text = readme.read_text("utf-8")
    models = list(card_files())
    assert models
    assert [model for model in models if not names_code(text, f"`{model}`")] == []


@readme
def test_every_field_of_the_credential_forms_is_named(readme: Path) -> None:
    text = readme.read_text("utf-8")
    assert [field for field in form_fields() if f"`{field}`" not in text] == []


@readme
def test_every_common_parameter_is_named(readme: Path) -> None:
    text = readme.read_text("utf-8")
    assert [rule.name for rule in VOCABULARY if f"`{rule.name}`" not in text] == []


@readme
@pytest.mark.parametrize("app", APPS, ids=lambda path: path.stem)
def test_every_app_is_named_with_its_models(readme: Path, app: Path) -> None:
    text = readme.read_text("utf-8")
    assert f"workflows/{app.name})" in text
    nodes = yaml.safe_load(app.read_text("utf-8"))["workflow"]["graph"]["nodes"]
    used = {node["data"]["model"]["name"] for node in nodes if node["data"]["type"] == "llm"}
    assert [model for model in used if f"`{model}`" not in text] == []


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("page", WORKFLOW_PAGES, ids=lambda path: path.name)
def test_every_app_has_a_graph_that_names_its_nodes(page: Path, app: Path) -> None:
    section = page.read_text("utf-8").partition(f"workflows/{app.name})")[2].partition("\n## ")[0]
    graph = section.partition("```mermaid")[2].partition("```")[0]
    nodes = yaml.safe_load(app.read_text("utf-8"))["workflow"]["graph"]["nodes"]
    titles = [node["data"]["title"] for node in nodes if node["data"]["type"] != "iteration-start"]
    assert [title for title in titles if title not in graph] == []


@page
def test_every_relative_link_of_a_packed_page_leads_into_the_package(page: Path) -> None:
    packed = {ROOT / path for path in packed_files(ROOT)}
    if page not in packed:
        pytest.skip("this page is not in the package")
    places = (link.partition("#")[0] for link in links(page.read_text("utf-8")) if not re.match(r"[a-z]+:", link))
    targets = {place: (page.parent / place).resolve() for place in places if place}
    missing = [place for place, target in targets.items() if target not in packed and not _holds(target, packed)]
    assert missing == []


def _holds(folder: Path, files: set[Path]) -> bool:
    return any(file.is_relative_to(folder) for file in files)


def test_every_backend_has_a_page_that_the_readmes_link() -> None:
    for readme in READMES:
        text, language = readme.read_text("utf-8"), readme.stem.removeprefix("README")
        assert [name for name in BACKENDS if f"docs/{PAGES_OF.get(name, name)}{language}.md)" not in text] == []


def test_every_page_has_a_chinese_version() -> None:
    english = [path for path in (ROOT / "docs").glob("*.md") if not path.stem.endswith("_zh_Hans")]
    assert [path.name for path in english if not path.with_stem(f"{path.stem}_zh_Hans").exists()] == []


def test_images_stay_small() -> None:
    heavy = {path.name for path in (ROOT / "docs" / "images").rglob("*.*") if path.stat().st_size > 200_000}
    assert heavy == set()
