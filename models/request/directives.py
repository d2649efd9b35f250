"""Directives at the end of a prompt: `a fox in snow --ar 16:9 --seed 42 --no "text, watermark"`.

They let workflow variables drive parameters, because a node's own parameters cannot always hold variables. Prompts
come from language models and phones as well: the dash may be a long one, a full stop or a code fence may stand around.
What looks like a directive and is not taken is told.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from models.backends.errors import BadRequest
from models.parameters import RULES, Rule, read_value

_ALIASES = {
    "ar": "aspect_ratio",
    "cfg": "cfg_scale",
    "no": "negative_prompt",
    "strength": "denoising_strength",
    "style": "style_preset",
    "format": "output_format",
    "quality": "output_quality",
}
_HYPHENS = r"--+"
_LONG_DASHES = r"[—–―]{1,2}|[－﹣−]{2}"  # what phones and Chinese keyboards make of two hyphens
# Chinese and Japanese put no space between words: `一只狐狸，--seed 42`. Within Latin words `--` is a dash.
_BEFORE = r"(?:^|(?<=[\s`*(\[.,;:!?\"'”’»›\u3000-\u9fff\uff00-\uffef]))"
_BEHIND = r"(?=[\s=:：.,;。，；`*)\]]|$)"
_FLAG = re.compile(rf"{_BEFORE}({_HYPHENS}|{_LONG_DASHES})([A-Za-z][A-Za-z0-9_-]*){_BEHIND}")
_LOOKS_LIKE = re.compile(rf"(?<!-)({_HYPHENS}|{_LONG_DASHES})([A-Za-z][A-Za-z0-9_-]*)(?![\w-])")
_SIZE = re.compile(r"(\d+)\s*[xX×*]\s*(\d+)")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“", "«": "»", "‹": "›", "「": "」", "『": "』", "《": "》"}
_STRAIGHT = frozenset("\"'")
_OPENERS = "`*(["  # stand right before a flag without belonging to the prompt
_CLOSERS = {")": "(", "]": "[", "}": "{", "”": "“", "’": "‘", "»": "«", "›": "‹", "」": "「", "』": "『", "》": "《"}
_TRAILERS = frozenset(".,;:!?。，；：！？、`*\"'") | frozenset(_CLOSERS)
_FENCED_END = re.compile(r"(?s)(.*?)^[ \t]*(```|~~~)[\w-]*[ \t]*\n(.*?)\n?[ \t]*\2\s*\Z", re.MULTILINE)
_WRAPPERS = (("**", "**"), ("`", "`"), *_QUOTES.items())
_LIST_ENDS = (",", "，", "、", ";", "；")


@dataclass(frozen=True, slots=True)
class Directed:
    """A prompt without its directives, and what they said: parameter name → text (or True for a bare switch).

    `said` holds each directive as it was written, by the same names. `notices` are sentences for the user.
    """

    prompt: str
    values: Mapping[str, str | bool] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    """One `--flag value` of the block at the end; `raw` is its text as written, `name` None for an unknown flag."""

    raw: str
    flag: str
    value: str
    name: str | None

    @property
    def said(self) -> str:
        return f"--{self.flag} {self.value}".strip()


def split_directives(prompt: str, rules: Iterable[Rule]) -> Directed:
    """Take the known directives off the end of `prompt`; everything else stays as it was written.

    Known are the aliases, `size`, every parameter of the common vocabulary and those of `rules` (the asked model's).
    The block at the end may hold unknown flags with at most one word each: they stay in the prompt.
    """
    known = {**RULES, **{rule.name: rule for rule in rules}}
    text = _unwrapped(prompt.strip(), known)
    body, block = _block(text, known)
    if all(item.name is None for item in block):
        return Directed(prompt.strip(), notices=tuple(_not_taken(prompt, known)))
    kept = " ".join(filter(None, (body, *(item.raw.strip() for item in block if item.name is None)))).strip()
    values: dict[str, str | bool] = {}
    said: dict[str, str] = {}
    notices: list[str] = []
    for item in block:
        for name, value in _meant(item, known).items():
            if name in said and said[name] != item.said:
                notices.append(f"`{said[name]}` lost to `{item.said}`, which comes later.")
            values[name], said[name] = value, item.said
    return Directed(kept, values, said, (*dict.fromkeys(notices), *_not_taken(kept, known)))


def _unwrapped(text: str, known: Mapping[str, Rule]) -> str:
    """Without a code fence around the directives at the end, and without marks around the whole."""
    fenced = _FENCED_END.fullmatch(text)
    if fenced and _FLAG.match(fenced[3].strip()):
        return f"{fenced[1].strip()}\n{fenced[3].strip()}"
    for opening, closing in _WRAPPERS:
        inside = text[len(opening) : -len(closing)]
        wrapped = text.startswith(opening) and text.endswith(closing)
        if wrapped and opening not in inside and closing not in inside and _ends_in_directives(inside, known):
            return inside.strip()
    return text


def _ends_in_directives(text: str, known: Mapping[str, Rule]) -> bool:
    """Whether directives with values that can be read end the text: `"tool --format json"` is lettering."""
    meant = [(known[name], value) for item in _block(text, known)[1] for name, value in _meant(item, known).items()]
    try:
        return bool([read_value(rule, value) for rule, value in meant])
    except BadRequest:
        return False


def _block(text: str, known: Mapping[str, Rule]) -> tuple[str, list[_Item]]:
    """The longest run of whole directives that ends the text, and what stands before it."""
    items: list[_Item] = []
    end = len(text)
    for match in reversed(list(_flags(text, known))):
        name = _parameter(match[2], known)
        value = _value(text[match.end() : end], name, known, last=not items)
        if value is None:
            break
        items.insert(0, _Item(text[match.start() : end], match[2], value, name))
        end = match.start()
        while end and text[end - 1] in _OPENERS and name:
            end -= 1
    return text[:end].rstrip(), items


def _flags(text: str, known: Mapping[str, Rule]) -> Iterator[re.Match[str]]:
    """The flags outside quotation marks; before an unknown name only hyphens count."""
    lettering = _lettering(text)
    for match in _FLAG.finditer(text):
        hyphens = match[1].startswith("--")
        if (hyphens or _parameter(match[2], known)) and not lettering[match.start()]:
            yield match


def _lettering(text: str) -> bytearray:
    """For each place of the text whether it is inside quotation marks."""
    inside = bytearray(len(text))
    for start, end in _quoted(text):
        inside[start:end] = b"\1" * (end - start)
    return inside


def _quoted(text: str) -> Iterator[tuple[int, int]]:
    """Where text in quotation marks begins and ends: words that the image shall show.

    A straight mark opens before a word and closes behind one, so that inches and apostrophes are none.
    """
    opened: dict[str, int] = {}
    for place, char in enumerate(text):
        before, behind = text[place - 1 : place], text[place + 1 : place + 2]
        closes = _borders(char, inside=before, outside=behind)
        for opening in [mark for mark in opened if _QUOTES[mark] == char and closes]:
            start = opened.pop(opening)
            if "\n\n" not in text[start:place]:
                yield start, place
            break
        else:
            if char in _QUOTES and _borders(char, inside=behind, outside=before):
                opened[char] = place


def _borders(mark: str, *, inside: str, outside: str) -> bool:
    """Whether a mark can stand between a character of a quoted text and one outside; both may be missing."""
    return mark not in _STRAIGHT or (bool(inside.strip()) and not (outside.isascii() and outside.isalnum()))


def _value(raw: str, name: str | None, known: Mapping[str, Rule], *, last: bool) -> str | None:
    """The value of a directive without what only stands around it; None where other words follow it."""
    value = raw.lstrip("=:：").strip()
    if name is None:
        return value if len(value.split()) <= 1 else None
    bare = _trimmed(value)
    if _is_quoted(bare):
        return bare[1:-1]
    if name != "size" and known[name].type == "text":
        return " ".join(bare.split()) if _is_one_list(value, last=last) else None
    bare = unicodedata.normalize("NFKC", bare)
    return bare if len(bare.split()) <= 1 or (name == "size" and _SIZE.fullmatch(bare)) else None


def _trimmed(value: str) -> str:
    """Without the full stop, comma, backtick, emphasis or closing bracket or quote that a sentence put behind it."""
    while value and value[-1] in _TRAILERS and not _is_quoted(value):
        opening = _CLOSERS.get(value[-1])
        if opening and opening in value[:-1]:
            break
        value = value[:-1].rstrip()
    return value


def _is_quoted(value: str) -> bool:
    """Whether the whole is in quotation marks: `--no "{{variable}}"` may hold a text with quotes of its own.

    A single straight mark counts as well: there is nothing between its ends.
    """
    closing = _QUOTES.get(value[:1])
    return bool(closing) and value.endswith(str(closing))


def _is_one_list(value: str, *, last: bool) -> bool:
    """Whether a text may be one value: at the end of the prompt only a comma carries it over a line break."""
    if re.search(r"\n\s*\n", value):
        return False
    lines = [line.strip() for line in value.splitlines()]
    return not last or all(line.endswith(_LIST_ENDS) or later.startswith(_LIST_ENDS) for line, later in pairwise(lines))


def _parameter(flag: str, known: Mapping[str, Rule]) -> str | None:
    name = flag.lower().replace("-", "_")
    if name == "size" and "size" not in known:
        return "size"
    return name if name in known else _ALIASES.get(name)


def _meant(item: _Item, known: Mapping[str, Rule]) -> dict[str, str | bool]:
    """The parameters that a directive sets. `--ar {{variable}}` with an empty variable means nothing."""
    name, value = item.name or "", item.value
    if name == "size" and name not in known and value:
        match = _SIZE.fullmatch(value)
        # Text that is no size is read as a number later, and refused there in the words of every other bad number.
        return {"width": match[1] if match else value, "height": match[2] if match else value}
    if name not in known or (not value and known[name].type != "boolean"):
        return {}
    if name == "output_format":
        return {name: "jpeg" if value.lower() == "jpg" else value.lower()}
    return {name: value or True}


def _not_taken(text: str, known: Mapping[str, Rule]) -> Iterator[str]:
    """Notices about what stays in the prompt and looks like a directive."""
    lettering = _lettering(text)
    found: dict[str, list[str]] = {reason: [] for reason in (_QUOTED, _UNKNOWN, _ELSEWHERE)}
    for match in _LOOKS_LIKE.finditer(text):
        hyphens, is_known = match[1].startswith("--"), bool(_parameter(match[2], known))
        attached = text[match.start() - 1 : match.start()].isalnum()  # a dash between two words
        if (attached or not hyphens) and not (attached is hyphens and is_known):
            continue
        reason = _QUOTED if lettering[match.start()] else _ELSEWHERE if is_known else _UNKNOWN
        found[reason].append(f"`{match[0]}`")
    for reason, shown in found.items():
        if shown:
            yield f"{', '.join(dict.fromkeys(shown))} {reason}."


_QUOTED = "in quotation marks stays in the prompt as lettering"
_UNKNOWN = "stays in the prompt: there is no such directive"
_ELSEWHERE = "stays in the prompt: directives are read at its end only"
