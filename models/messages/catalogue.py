"""The catalogue: English templates and their Chinese, in the files of `zh_Hans/`.

An entry is a sentence or a part of one: `en` with named fields in the syntax of `str.format`, `zh` with the same names
(a field that Chinese does not need is left out), `words` for fields that hold one of a few English words, and `only` for
fields that always hold something of one form, as a regular expression.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from string import Formatter

import yaml
from pydantic import Field

from models.entities import StrictModel

FOLDER = Path(__file__).with_name("zh_Hans")
_MOST_READINGS = 60
"""Ways to divide a text between the fields of one template that are looked at."""


class Entry(StrictModel):
    """One entry of a file."""

    en: str
    zh: str
    words: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    only: Mapping[str, str] = Field(default_factory=dict)


_BEGINNINGS = " ,;("
"""What a part begins with that is written right behind another one."""


@dataclass(frozen=True)
class Template:
    """An entry taken apart: `literals` stand before, between and behind its `fields`."""

    entry: Entry
    literals: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def of(cls, entry: Entry) -> "Template":
        literals, fields = [""], list[str]()
        for literal, name, _, _ in Formatter().parse(entry.en):
            literals[-1] += literal
            if name is not None:
                fields.append(name)
                literals.append("")
        return cls(entry, tuple(literals), tuple(fields))

    @cached_property
    def zh(self) -> tuple[tuple[str, str | None], ...]:
        """The Chinese as pairs of literal text and the field behind it."""
        return tuple((literal, name) for literal, name, _, _ in Formatter().parse(self.entry.zh))

    @cached_property
    def letters(self) -> int:
        return sum(char.isalpha() for literal in self.literals for char in literal)

    def readings(self, text: str) -> Iterator[tuple[str, ...]]:
        """The values of the fields with which the template gives `text`, shortest first."""
        found = islice(self._from(text, 0, 0), _MOST_READINGS)
        if not self.entry.only:
            return found
        forms = [self.entry.only.get(name, "(?s:.*)") for name in self.fields]
        return (values for values in found if all(map(re.fullmatch, forms, values)))

    def _from(self, text: str, place: int, number: int) -> Iterator[tuple[str, ...]]:
        """The values from the field with this number on, which begins behind the literal at `place`."""
        literal = self.literals[number]
        if not text.startswith(literal, place):
            return
        begin = place + len(literal)
        if number == len(self.fields):
            if begin == len(text):
                yield ()
            return
        behind, last = self.literals[number + 1], number + 1 == len(self.fields)
        glued = literal[-1:].isalnum() or (number and not literal)
        least = begin if glued else begin + 1  # a part may be empty that is written right behind a word or a field
        ends = [len(text) - len(behind)] if last else self._ends(text, least, number + 1)
        for end in ends:
            if end >= least:
                for others in self._from(text, end, number + 1):
                    yield (text[begin:end], *others)

    def _ends(self, text: str, least: int, number: int) -> Iterable[int]:
        """Where the field before the literal with this number may end."""
        if behind := self.literals[number]:
            return places(text, behind, least)
        then = self.literals[number + 1]
        marks = (
            at for at in range(least, len(text)) if text[at] in _BEGINNINGS or (then and text.startswith(then, at))
        )
        return (*marks, len(text))


def places(text: str, part: str, start: int) -> Iterator[int]:
    at = text.find(part, start)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry, in the order of the files."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows = [row for path in sorted(FOLDER.glob("*.yaml")) for row in yaml.load(path.read_text("utf-8"), loader)]  # noqa: S506 -- both loaders are safe
    return tuple(map(Entry.model_validate, rows))


@cache
def templates() -> tuple[Template, ...]:
    """The entries with fields."""
    return tuple(template for template in map(Template.of, entries()) if template.fields)


@cache
def constants() -> Mapping[str, str]:
    """The entries without fields: English to Chinese."""
    return {template.literals[0]: template.zh[0][0] for template in map(Template.of, entries()) if not template.fields}
