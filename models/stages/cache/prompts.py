"""Which prompts are similar: the deterministic rule, and the guards for prompts whose meaning an endpoint compares.

Prompts agree that differ only in case, width, punctuation, spaces and the order of their comma-separated parts. What may
change the image counts all the same: quoted texts are lettering and count as written; with emphasis marks (`((red))`,
`(red:1.3)`, `[a|b]`) the punctuation counts; the order of the parts counts where a part may refer to its neighbours (a
negation, a place, a colour or number that stands alone).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

_QUOTED = re.compile(
    r"\"([^\"\n]+)\"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»|「([^」\n]+)」|『([^』\n]+)』|《([^》\n]+)》|‘([^’\n]+)’"
    r"|(?<![a-zA-Z0-9])'([^'\n]+)'(?![a-zA-Z0-9])"
)
_EMPHASIS = re.compile(r"[(\[]{2}|[(\[<{][^)\]>}]*[:|][^)\]>}]*[)\]>}]|\bBREAK\b|\bAND\b")
_COMMAS = re.compile(r"(?<!\d),|,(?!\d)|、")
_SENTENCES = re.compile(r"[.!?;。！？；\n](?!\d)")
_CJK = r"[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]"
_BESIDE_CJK = re.compile(rf"(?<={_CJK})\s+|\s+(?={_CJK})")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
"""Characters without a meaning; here they mark the places of quoted texts."""
_KEPT = frozenset('%#@&*"')
"""Punctuation that says something: 50 %, #1, 5"."""
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_TOKEN = re.compile(rf"{_NUMBER.pattern}|{_CJK}+|(?:(?!{_CJK})[^\W\d_])+")


@dataclass(frozen=True, slots=True)
class Guards:
    """What must be equal where meaning decides: each in the order of the text."""

    numbers: tuple[str, ...]
    quoted: tuple[str, ...]
    colours: tuple[str, ...]
    negated: tuple[str, ...]
    places: tuple[str, ...]


def canonical(prompt: str) -> tuple[str, ...]:
    """The same for prompts that are similar, and different for all others."""
    texts, plain = _without_quotes(prompt)
    if _EMPHASIS.search(plain):
        return ("as written", " ".join(_folded(plain).split()), *texts)
    folded = _folded(plain)
    parts = [part for part in map(_bare, _COMMAS.split(folded)) if part]
    if not _order_counts(_telling(plain), parts):
        parts.sort(key=lambda part: _with_quotes(part, texts))
    return tuple(_with_quotes(part, texts) for part in parts)


def guards(prompt: str) -> Guards:
    texts, plain = _without_quotes(prompt)
    folded = _telling(plain)
    return Guards(
        numbers=tuple(_found(folded, "numbers")),
        quoted=texts,
        colours=tuple(_found(folded, "colours")),
        negated=tuple(_negated(folded)),
        places=tuple(_found(folded, "places")),
    )


def bag(prompt: str) -> tuple[str, ...]:
    """The words without their order: endpoints give "a dog chases a cat" and "a cat chases a dog" one meaning."""
    folded = _folded(prompt)
    return tuple(sorted(piece for token in _TOKEN.findall(folded) for piece in _pieces(token)))


def _pieces(token: str) -> Iterator[str]:
    """A Latin word whole, Chinese by characters: it has no spaces."""
    if re.match(_CJK, token):
        yield from token
    else:
        yield token


def _without_quotes(prompt: str) -> tuple[tuple[str, ...], str]:
    """The quoted texts as written, and the prompt with a mark in the place of each."""
    texts: list[str] = []

    def taken(match: re.Match[str]) -> str:
        texts.append(next(filter(None, match.groups())).strip())
        return f" \ue000{chr(0xE001 + len(texts) - 1)} " if len(texts) < 0x1000 else match[0]  # noqa: PLR2004

    plain = _QUOTED.sub(taken, _PRIVATE.sub(" ", prompt))
    return tuple(texts), plain


def _with_quotes(part: str, texts: tuple[str, ...]) -> str:
    return re.sub("\ue000(.)", lambda match: f"“{texts[ord(match[1]) - 0xE001]}”", part)


def _folded(text: str) -> str:
    """Without case, width and invisible characters."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return visible.casefold()


def _telling(text: str) -> str:
    """Folded, without the Chinese words that only look as if they said a colour, a number or a negation."""
    return _pattern("neutral").sub("\ue0fe", _folded(text).replace("'", "").replace("’", ""))


def _bare(part: str) -> str:
    """A part without its punctuation; numbers keep theirs, and so do signs that say something."""
    chars = list(part)
    for number in _NUMBER.finditer(part):
        chars[number.start() : number.end()] = [char if char.isdigit() else f"\ue0ff{char}" for char in number[0]]
    spaced = "".join(_readable(chars, place) for place in range(len(chars)))
    return _BESIDE_CJK.sub("", " ".join(spaced.split()))


def _readable(chars: list[str], place: int) -> str:
    char = chars[place]
    if len(char) > 1:  # inside a number
        return char[1:]
    if char in "'’":  # don't, dont
        return ""
    following = chars[place + 1] if place + 1 < len(chars) else ""
    if char == "-" and following.isdigit() and not (place and chars[place - 1].isalnum()):
        return char
    return " " if unicodedata.category(char).startswith("P") and char not in _KEPT else char


def _order_counts(folded: str, parts: list[str]) -> bool:
    words = ("negations", "places")
    alone = any(_word_of(part, kind) for part in parts for kind in ("colours", "numbers"))
    return alone or any(True for kind in words for _ in _found(folded, kind))


def _word_of(part: str, kind: str) -> bool:
    english, chinese = _words(kind)
    return part in english or part in chinese or part.removesuffix("色") in chinese or bool(_NUMBER.fullmatch(part))


def _found(folded: str, kind: str) -> Iterator[str]:
    """What the words of one kind in the text stand for, in order; digits stand for themselves."""
    english, chinese = _words(kind)
    for token in _TOKEN.findall(folded):
        if token in english:
            yield english[token]
        elif kind == "numbers" and token[0].isdigit():
            yield token
        elif re.match(_CJK, token):
            yield from (chinese[word] for word in _pattern(kind).findall(token))


def _negated(folded: str) -> Iterator[str]:
    """For each sentence with a negation, what stands from there to its end."""
    english, _ = _words("negations")
    words = "|".join(map(re.escape, english))
    negation = re.compile(rf"(?<!\w)(?:{words})(?!\w)|(?:{_pattern('negations').pattern})")
    for sentence in _SENTENCES.split(folded):
        if found := negation.search(sentence):
            yield _bare(sentence[found.start() :])


@cache
def _words(kind: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The English and the Chinese words of one kind, each with what it stands for."""
    listed: Mapping[str, list[str]] = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))[kind]
    pairs = [(word, meaning) for meaning, words in listed.items() for word in words]
    english = {word: meaning for word, meaning in pairs if word.isascii()}
    return english, {word: meaning for word, meaning in pairs if not word.isascii()}


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    """The Chinese words, longer ones first."""
    return re.compile("|".join(sorted(map(re.escape, _words(kind)[1]), key=len, reverse=True)))
