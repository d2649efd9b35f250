"""From the words of a prompt to what is drawn. The words stand in the YAML files beside this module."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models.parameters import read_yaml

_HERE = Path(__file__).parent
SUBJECTS = ("animals", "buildings", "food", "objects", "people", "plants", "vehicles")
"""The files that hold drawings."""
_LISTS = {"place": "places", "time": "times", "weather": "weather", "style": "styles", "colour": "colours"}
_NEAR = 18  # characters between a colour or number and what it belongs to
_MOST = 5  # of one subject
_MOST_SUBJECTS = 4
_LONGEST = 4000  # characters of a prompt that are read
_QUOTED = re.compile(
    r"\"([^\"]{1,80})\"|“([^”]{1,80})”|「([^」]{1,80})」|『([^』]{1,80})』|(?<!\w)'([^']{2,80})'(?!\w)"
)
_NUMBERS = {
    **dict.fromkeys(("two", "2", "两", "二", "pair of", "couple of", "一对"), 2),
    **dict.fromkeys(("three", "3", "三"), 3),
    **dict.fromkeys(("four", "4", "四"), 4),
    **dict.fromkeys(("five", "5", "五", "many", "several", "许多", "很多", "一群"), 5),
}

type Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Element:
    """One subject, the name of its colour where one was named, and how often it is drawn."""

    name: str
    colour: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class SceneReading:
    """What a prompt asks for; empty where it says nothing. `colours` are those that belong to no subject."""

    subjects: tuple[Element, ...] = ()
    places: tuple[Element, ...] = ()
    time: str = ""
    weather: tuple[str, ...] = ()
    style: str = ""
    colours: tuple[str, ...] = ()
    lettering: tuple[str, ...] = ()


@cache
def table(name: str) -> Mapping[str, Entry]:
    """One of the lists of elements."""
    found: Mapping[str, Entry] = read_yaml(_HERE / f"{name}.yaml")
    return found


@cache
def subjects() -> Mapping[str, Entry]:
    """Every subject with its drawing."""
    return {name: entry for file in SUBJECTS for name, entry in table(f"drawings/{file}").items()}


@cache
def _vocabulary() -> Mapping[str, tuple[str, str]]:
    """The kind and name of what each word asks for."""
    lists = {"subject": subjects(), **{kind: table(name) for kind, name in _LISTS.items()}}
    known = {
        str(word): (kind, name)
        for kind, entries in lists.items()
        for name, entry in entries.items()
        for word in entry.get("words", ())
    }
    return known | {word: ("number", str(number)) for word, number in _NUMBERS.items()}


@cache
def _pattern() -> re.Pattern[str]:
    words = sorted(_vocabulary(), key=len, reverse=True)  # the longest that fits: "hot air balloon" before "balloon"
    latin = "|".join(re.escape(word).replace(r"\ ", r"[\s-]") for word in words if word.isascii())
    others = "|".join(re.escape(word) for word in words if not word.isascii())
    return re.compile(rf"(?<![a-z0-9])({latin})(e?s)?(?![a-z0-9])|({others})")


@dataclass(frozen=True, slots=True)
class _Word:
    kind: str
    name: str
    start: int
    end: int
    plural: bool


def _words(text: str) -> Iterator[_Word]:
    for found in _pattern().finditer(text):
        word = re.sub(r"[\s-]", " ", found[1]) if found[1] else found[3]
        kind, name = _vocabulary()[word if word in _vocabulary() else found[1]]
        yield _Word(kind, name, found.start(), found.end(), bool(found[2]))


def read(prompt: str, style: str = "") -> SceneReading:
    """What is drawn for a prompt. `style` is a style's name or one of its words; it wins over the prompt's."""
    text = prompt[:_LONGEST]
    lettering = tuple(next(filter(None, found)).strip() for found in _QUOTED.findall(text))
    words = list(_words(_QUOTED.sub(lambda found: " " * len(found[0]), text).casefold()))
    subjects_found, places, loose = _attached(words)
    if len(subjects_found) == 1 and not subjects_found[0].colour and len(loose) == 1:
        subjects_found, loose = [Element(subjects_found[0].name, loose[0], subjects_found[0].count)], []
    return SceneReading(
        subjects=tuple(subjects_found[:_MOST_SUBJECTS]),
        places=tuple(places),
        time=next((word.name for word in words if word.kind == "time"), ""),
        weather=tuple(dict.fromkeys(word.name for word in words if word.kind == "weather")),
        style=style_named(style) or next((word.name for word in words if word.kind == "style"), ""),
        colours=tuple(loose),
        lettering=lettering,
    )


def style_named(text: str) -> str:
    """The name of a style given by its name or one of its words; empty for an unknown one."""
    if text in table("styles"):
        return text
    return next((word.name for word in _words(text.casefold()) if word.kind == "style"), "")


def _attached(words: list[_Word]) -> tuple[list[Element], list[Element], list[str]]:
    """Subjects and places with the colour and number before them, and the colours that are left."""
    found: dict[str, list[Element]] = {"subject": [], "place": []}
    loose, colour, number = list[str](), None, None
    for word in words:
        if word.kind == "colour":
            loose += [colour.name] if colour else []
            colour = word
        elif word.kind == "number":
            number = word
        elif word.kind in found:
            own = colour.name if colour and word.start - colour.end <= _NEAR else ""
            loose += [colour.name] if colour and not own else []
            count = int(number.name) if number and word.start - number.end <= _NEAR else 3 if word.plural else 1
            if word.name == "person" and any(wanted.name == "portrait" for wanted in found["subject"]):
                continue
            if word.name not in {wanted.name for wanted in found[word.kind]}:
                found[word.kind].append(Element(word.name, own, min(count, _MOST)))
            colour = number = None
    return found["subject"], found["place"], [*loose, *([colour.name] if colour else [])]
