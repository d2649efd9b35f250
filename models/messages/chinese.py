"""English sentences into Chinese ones, by the catalogue.

A sentence is read as a whole: a constant, a template whose fields may be sentences again, a form's field, or two
readable parts with a joint between them ("…: …", "…; …"). Of several readings the one counts that leaves the fewest
characters untranslated. What cannot be read stays as it is: a service's own words, names, the user's text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from models.messages.catalogue import Template, constants, places, templates

_FORMS = Path(__file__).parents[2] / "provider" / "image_generation.yaml"
_LONGEST = 2_000  # characters; a longer text is no sentence of ours
_MOST_PARTS = 400
"""Parts of one text that are looked at: what users and services write may have any number of commas."""
_FEW_LETTERS = 7
"""A template with fewer letters of its own says little: its fields must be sentences or single words."""
_FIELD = re.compile(
    r"(?:“(?P<label>[^”]+)” \((?P<variable>\w+)\)|(?P<plain>`\w+`)(?= in the))(?: (?P<place>in the \w+'s settings))?"
)
_LEAST_SAID = 10
"""Characters of what is said of a name, at least."""
_MOST_WORDS = 3
"""Words of a name that is not understood, unless it is that of a file."""
_FILE = re.compile(r"\.\w{2,5}$")
_VERBATIM = ("`", "“", '"', "'")
"""What opens a field that is quoted as it is."""
_CJK = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z0-9`'<(\[{%+~-]")
_LATIN_END = re.compile(r"[A-Za-z0-9`'>)\]}%….]")
_SENTENCES = re.compile(r"[.:;] |\.$")
_ENDED = re.compile(r"[.!?…。！？][\"'”’」)\]]*$")


class _Read(NamedTuple):
    """A text in Chinese, how many of its characters were understood, and of how many entries it was put together."""

    text: str
    known: int
    parts: int = 1

    @property
    def rank(self) -> tuple[int, int]:
        return self.known, -self.parts


def composed(attempted: str, said: str, next_step: str) -> str:
    """An error's three parts, as one text."""
    head = translated(attempted)
    if said:
        head = f"{head}：{translated(said)}"
    sentences = [part if _ENDED.search(part) else f"{part}。" for part in (head, translated(next_step)) if part]
    return "".join(
        part if part.endswith("。") or place == len(sentences) - 1 else f"{part} "
        for place, part in enumerate(sentences)
    )


@lru_cache(maxsize=100)  # a line to the host is measured several times before it is sent
def translated(text: str) -> str:
    """The text in Chinese as far as the catalogue has it."""
    if len(text) > _LONGEST:
        return text
    reading = _Reader(text).read(text)
    return reading.text if reading else text


@dataclass
class _Reader:
    """Reads one text. Only what can stand in it is tried for its parts."""

    whole: str
    known: dict[str, _Read | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.templates = [one for one in templates() if all(part in self.whole for part in one.literals)]
        told = {text for text in constants() if text in self.whole}
        self.openings = tuple({*filter(None, (one.literals[0] for one in self.templates)), *told})
        """What begins something that can be read, unless it begins with a name."""
        self.marks = ("” (", *told, *{max(one.literals, key=len) for one in self.templates})
        """One of them stands in whatever can be read, but for words of a field."""

    def read(self, text: str) -> _Read | None:
        """The best reading of a part of the text, else None."""
        if text not in self.known:
            if len(self.known) >= _MOST_PARTS or not any(mark in text for mark in self.marks):
                return None
            self.known[text] = None
            found = [*self._directly(text), *self._joined(text)]
            self.known[text] = max(found, key=lambda one: one.rank, default=None)
        return self.known[text]

    # --- whole sentences ---

    def _directly(self, text: str) -> Iterator[_Read]:
        if (chinese := constants().get(text)) is not None:
            yield _Read(chinese, len(text))
        if match := _FIELD.fullmatch(text):
            yield _Read(_form_field(match), len(text))
        for template in self.templates:
            readings = (self._filled(template, values) for values in template.readings(text))
            yield from filter(None, readings)

    def _filled(self, template: Template, values: Sequence[str]) -> _Read | None:
        """The Chinese of a template with these values; None where they are more than the template says itself."""
        known, parts, shown = sum(map(len, template.literals)), 1, dict[str, str]()
        for place, (name, value) in enumerate(zip(template.fields, values, strict=True)):
            quoted = template.literals[place].endswith(_VERBATIM)
            reading = None if quoted else self._value(template, name, value)
            free = quoted or name in template.entry.only
            if reading is None and not free and template.letters < _FEW_LETTERS and _is_prose(value):
                return None
            text, understood, count = reading or _Read(value, 0, 0)
            several = 2 if _SENTENCES.search(value) else 0  # a joint belongs between sentences, not into a field
            shown[name], known, parts = text, known + understood, parts + count + several
        return _Read(
            _spaced([part for text, name in template.zh for part in (text, shown.get(name or "", ""))]), known, parts
        )

    def _value(self, template: Template, name: str, value: str) -> _Read | None:
        word = template.entry.words.get(name, {}).get(value)
        return self.read(value) if word is None else _Read(word, len(value), 0)

    # --- parts with a joint between them ---

    def _joined(self, text: str) -> Iterator[_Read]:
        if text.endswith(".") and (reading := self.read(text[:-1])):
            yield _Read(
                f"{reading.text}{_full_stop(text[:-1], reading.text).strip()}", reading.known + 1, reading.parts
            )
        for joint, chinese in _JOINTS.items():
            for at in places(text, joint, 1):
                left, right = text[:at], text[at + len(joint) :]
                if left.count("(") == left.count(")") and (joint != " " or right.startswith(self.openings)):
                    yield from self._pair(left, (joint, chinese), right)
        yield from self._bracketed(text)

    def _pair(self, left: str, joint: tuple[str, str], right: str) -> Iterator[_Read]:
        (english, chinese), one, other = joint, self.read(left), self.read(right)
        if not (one or other) or (english in _BOTH and not (one and other)):
            return
        if english == " " and not _belongs(left, one, right, other):
            return
        if english == ", " and not (one and other):
            chinese = "，"
        first, second = one or _Read(left, 0), other or _Read(right, 0)
        if english == ". ":
            chinese = _full_stop(left, first.text)
        whole = _spaced([first.text, chinese, second.text])
        yield _Read(whole, first.known + second.known, first.parts + second.parts)

    def _bracketed(self, text: str) -> Iterator[_Read]:
        """A text with a remark in brackets behind it."""
        head, bracket, remark = text.partition(" (")
        if not (bracket and text.endswith(")")):
            return
        one, other = self.read(head), self.read(remark[:-1])
        if not (one or other):
            return
        first, second = one or _Read(head, 0), other or _Read(remark[:-1], 0)
        yield _Read(f"{first.text}（{second.text}）", first.known + second.known + 2, first.parts + second.parts)


_JOINTS: Mapping[str, str] = {
    "; ": "；",
    ": ": "：",
    ". ": "。",
    ", ": "、",
    " and ": "和",
    " or ": "或",
    " ": " ",
}
_BOTH = frozenset({" and ", " or "})


def _full_stop(english: str, chinese: str) -> str:
    """The full stop behind a sentence: behind a service's own words it stays."""
    return ". " if english.endswith(chinese[-4:]) else "。"


def _is_prose(value: str) -> bool:
    """Whether it is more than a name, a number or a list of them."""
    return " " in value.strip().replace(", ", "")


def _belongs(left: str, one: _Read | None, right: str, other: _Read | None) -> bool:
    """Whether two parts with only a space between them are one sentence: a name, and what is said of it."""
    if other is None or other.known < max(_LEAST_SAID, len(right) // 2):
        return False
    return one is not None or len(left.split(" ")) <= _MOST_WORDS or _FILE.search(left) is not None


def _spaced(parts: list[str]) -> str:
    """The parts as one text: a space between Chinese and Latin letters, none between Chinese ones."""
    whole = ""
    for part in filter(None, parts):
        left, right = whole.rstrip(" "), part.lstrip(" ")
        if not left or not right:
            whole += part
            continue
        apart = len(whole) - len(left) + len(part) - len(right) > 0
        mixed = bool(
            (_CJK.match(left[-1]) and _LATIN.match(right[0])) or (_LATIN_END.match(left[-1]) and _CJK.match(right[0]))
        )
        plain = not (_is_chinese(left[-1]) or _is_chinese(right[0]))
        whole = f"{left} {right}" if mixed or (apart and plain) else f"{left}{right}"
    return whole


def _is_chinese(char: str) -> bool:
    return bool(_CJK.match(char)) or char in "，。；：、（）“”！？"


def _form_field(match: re.Match[str]) -> str:
    """A field of a form: its Chinese label and its variable, behind the form's name where that is told."""
    label, variable, plain, place = match.group("label", "variable", "plain", "place")
    named = plain or f"“{_labels().get((label, variable), label)}”（{variable}）"
    return _spaced([constants().get(place or "", ""), named])


@cache
def _labels() -> Mapping[tuple[str, str], str]:
    schema = yaml.safe_load(_FORMS.read_text("utf-8"))
    forms = (schema[f"{kind}_credential_schema"]["credential_form_schemas"] for kind in ("provider", "model"))
    return {
        (entry["label"]["en_US"], entry["variable"]): entry["label"].get("zh_Hans", entry["label"]["en_US"])
        for form in forms
        for entry in form
    }
