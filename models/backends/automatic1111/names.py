"""Names on the server: the servers take any name and silently use another one, so names are checked before sending."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from models.backends.errors import BadRequest

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Name:
    """One thing on the server: how it is asked for, and every other spelling that means it."""

    sent: str
    known_as: tuple[str, ...] = ()

    def means(self, word: str | None) -> bool:
        return word is not None and (word == self.sent or word in self.known_as)


def find(kind: str, asked: str, names: Sequence[Name]) -> Name:
    """The thing that `asked` means. Raises BadRequest with the nearest and the available ones."""
    found = lookup(asked, names)
    if found is None:
        raise unknown(kind, asked, [name.sent for name in names])
    return found


def lookup(asked: str, names: Sequence[Name]) -> Name | None:
    """Exact spelling first, another known spelling next, then without regard to case where that is unambiguous."""
    exact = [name for name in names if name.sent == asked] or [name for name in names if name.means(asked)]
    if exact:
        return exact[0]
    folded = asked.casefold()
    similar = [name for name in names if any(word.casefold() == folded for word in (name.sent, *name.known_as))]
    return similar[0] if len(similar) == 1 else None


def unknown(kind: str, asked: str, available: Sequence[str]) -> BadRequest:
    """The refusal of a name that the server does not have."""
    if not available:
        return BadRequest(
            f"There is no {kind} {asked!r} on the server", next_step=f"It has none; leave the {kind} empty"
        )
    near = difflib.get_close_matches(asked, available, n=3, cutoff=0.5)
    shown = ", ".join(dict.fromkeys([*near, *available[:_SHOWN]]))
    rest = f" ({len(available)} in all)" if len(available) > _SHOWN else ""
    return BadRequest(
        f"There is no {kind} {asked!r} on the server",
        next_step=f"It has: {shown}{rest}; a file added just now shows after a refresh in the WebUI",
    )
