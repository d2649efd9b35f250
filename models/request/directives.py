"""Directives at the end of a prompt: `a fox in snow --ar 16:9 --seed 42 --no "text, watermark"`.

They let workflow variables drive parameters, because a node's own parameters cannot always hold variables.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from models.parameters import RULES, Rule

_ALIASES = {
    "ar": "aspect_ratio",
    "cfg": "cfg_scale",
    "no": "negative_prompt",
    "strength": "denoising_strength",
    "style": "style_preset",
    "format": "output_format",
    "quality": "output_quality",
}
# Chinese and Japanese put no space between words: `一只狐狸，--seed 42`. Within Latin words `--` is a dash.
_FLAG = re.compile(r"(?:^|(?<=[\s\u3000-\u9fff\uff00-\uffef]))--([A-Za-z][A-Za-z0-9_-]*)(?=\s|=|$)")
_SIZE = re.compile(r"(\d+)\s*[xX×*]\s*(\d+)")
_QUOTES = {'"': '"', "'": "'", "“": "”", "「": "」"}


@dataclass(frozen=True, slots=True)
class Directed:
    """A prompt without its directives, and what they said: parameter name → text (or True for a bare switch)."""

    prompt: str
    values: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Item:
    """One `--flag value` of the block at the end; `raw` is its text as written."""

    raw: str
    flag: str
    value: str


def split_directives(prompt: str, rules: Iterable[Rule]) -> Directed:
    """Take the known directives off the end of `prompt`; everything else stays as it was written.

    Known are the aliases, `size`, every parameter of the common vocabulary and those of `rules` (the asked model's).
    The block at the end may hold unknown flags with at most one word each: they stay in the prompt.
    """
    known = {**RULES, **{rule.name: rule for rule in rules}}
    body, block = _block(prompt, known)
    values: dict[str, str | bool] = {}
    if all(_parameter(item.flag, known) is None for item in block):
        return Directed(prompt.strip())
    kept = [body]
    for item in block:
        name = _parameter(item.flag, known)
        if name is None:
            kept.append(item.raw.strip())
        else:
            _put(values, name, item.value, switch=name in known and known[name].type == "boolean")
    return Directed(" ".join(part for part in kept if part).strip(), values)


def _block(prompt: str, known: Mapping[str, Rule]) -> tuple[str, list[_Item]]:
    """The longest run of whole directives that ends the prompt, and the text before it."""
    items: list[_Item] = []
    end = len(prompt)
    for match in reversed(list(_FLAG.finditer(prompt))):
        raw = prompt[match.start() : end]
        value = prompt[match.end() : end].lstrip("=").strip()
        if not _whole(value, _parameter(match[1], known), known):
            break
        items.insert(0, _Item(raw, match[1], _bare(value)))
        end = match.start()
    return prompt[:end].rstrip(), items


def _whole(value: str, name: str | None, known: Mapping[str, Rule]) -> bool:
    """Whether `value` is nothing but a directive's value: a quoted text, one word, or free text for a text parameter."""
    if _unquoted(value) != value:
        return True
    if name is not None and name != "size" and known[name].type == "text":
        return "\n" not in value
    if name == "size" and _SIZE.fullmatch(value):
        return True
    return len(value.split()) <= 1


def _unquoted(value: str) -> str:
    closing = _QUOTES.get(value[:1])
    if closing and len(value) > 1 and value.find(closing, 1) == len(value) - 1:
        return value[1:-1]
    return value


def _bare(value: str) -> str:
    """Without the outer quotes: `--no "{{variable}}"` may hold a text with quotes of its own."""
    closing = _QUOTES.get(value[:1])
    return value[1:-1] if closing and len(value) > 1 and value.endswith(closing) else value


def _parameter(flag: str, known: Mapping[str, Rule]) -> str | None:
    name = flag.lower().replace("-", "_")
    if name == "size" and "size" not in known:
        return "size"
    if name in known:
        return name
    return _ALIASES.get(name)


def _put(values: dict[str, str | bool], name: str, value: str, *, switch: bool) -> None:
    if name == "size":
        _put_size(values, value)
    elif value:
        values[name] = _SPELLINGS.get(name, str)(value)
    elif switch:
        values[name] = True
    # `--ar {{variable}}` with an empty variable means nothing.


def _put_size(values: dict[str, str | bool], value: str) -> None:
    if match := _SIZE.fullmatch(value):
        values["width"], values["height"] = match[1], match[2]
    elif value:
        # Read as a number later, it is refused there in the words of every other bad number.
        values["width"] = values["height"] = value


_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "output_format": lambda value: "jpeg" if value.lower() in {"jpg", "jpeg"} else value.lower(),
    "aspect_ratio": lambda value: value.replace("：", ":").replace("/", ":").replace("x", ":"),
}
