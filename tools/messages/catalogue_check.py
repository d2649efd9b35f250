"""Whether the Chinese catalogue has every sentence of the code, and none besides."""

import ast
from collections.abc import Iterator

import yaml

from models.messages.catalogue import FOLDER, Template, entries
from tools.messages.areas import area_of
from tools.messages.sentences import ROOT, Sentence, by_shape, sentences, shape


def missing() -> list[Sentence]:
    """The sentences without a Chinese entry."""
    known = {shape(entry.en) for entry in entries()}
    return [sentence for sentence in by_shape(sentences()).values() if sentence.shape not in known]


def unused() -> list[str]:
    """The entries whose sentence the code does not have any more. A constant may be any text of the code."""
    shown = {sentence.shape for sentence in sentences()}
    left = [template for template in map(Template.of, entries()) if shape(template.entry.en) not in shown]
    texts = set(_constants()) if left else set[str]()
    return [one.entry.en for one in left if one.fields or one.literals[0] not in texts]


def _constants() -> Iterator[str]:
    for path in (ROOT / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def written(found: list[Sentence]) -> str:
    """Entries for the sentences, to be filled in, under the files in which they belong."""
    lines = []
    for sentence in found:
        lines += [
            f"# {FOLDER.relative_to(ROOT) / area_of(sentence.path)}.yaml",
            f"- {yaml.safe_dump({'en': sentence.template}, allow_unicode=True, width=10_000).rstrip()}",
            "  zh: ",
        ]
    return "\n".join(lines)
