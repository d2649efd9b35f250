"""Prompts with variants: `{red|blue} bicycle` stands for two prompts."""

import itertools
import re

_GROUP = re.compile(r"\{([^{}]*\|[^{}]*)\}")


def variants(prompt: str) -> list[str]:
    """
    Every combination of the variants, the first group changing slowest; without a group the prompt itself.

    Braces without `|`, such as JSON or a workflow variable, are left alone.
    """
    pieces = _GROUP.split(prompt)  # text, group, text, group, ..., text
    choices = [piece.split("|") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    return list(dict.fromkeys("".join(parts).strip() for parts in itertools.product(*choices)))
