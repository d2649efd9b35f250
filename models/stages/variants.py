"""The parameter `variants`: further sizes of the same image, by number or by a name of `variants.yaml`."""

import re
from functools import cache
from pathlib import Path

from pydantic import RootModel

from models.backends.errors import BadRequest, names_like
from models.entities import StrictModel
from models.parameters import read_yaml
from models.sizes import Size

MOST = 12
SMALLEST, LARGEST = 16, 4096  # pixels of a side
_SIZE = re.compile(r"(\d{1,6})\s*[xX×*]\s*(\d{1,6})")
_SEPARATORS = re.compile(r"[,，;；、\n]")


class NamedSize(StrictModel):
    """A row of the table; `source` says where the size stands, with the month in which it was read."""

    width: int
    height: int
    source: str


class _Table(RootModel[dict[str, NamedSize]]):
    pass


@cache
def named_sizes() -> dict[str, NamedSize]:
    return _Table.model_validate(read_yaml(Path(__file__).with_name("variants.yaml"))).root


def read_variants(text: str) -> tuple[Size, ...]:
    """The sizes that a text asks for, each once. Raises BadRequest for an entry that is neither a size nor a name."""
    entries = [entry.strip() for entry in _SEPARATORS.split(text) if entry.strip()]
    sizes = tuple(dict.fromkeys(map(_size, entries)))
    if len(sizes) > MOST:
        raise BadRequest(f"`variants` names {len(sizes)} sizes", next_step=f"Name at most {MOST}")
    return sizes


def _size(entry: str) -> Size:
    if named := named_sizes().get(entry.casefold().replace("_", "-")):
        return named.width, named.height
    found = _SIZE.fullmatch(entry)
    if found is None:
        names = names_like(entry.casefold(), tuple(named_sizes()))
        raise BadRequest(
            f"“{entry[:80]}” in `variants` is neither a size nor a known name",
            next_step=f"Write a size like 900x383, or one of {names}",
        )
    width, height = int(found[1]), int(found[2])
    if not (min(width, height) >= SMALLEST and max(width, height) <= LARGEST):
        raise BadRequest(
            f"“{entry[:80]}” in `variants` is too small or too large",
            next_step=f"Give sides between {SMALLEST} and {LARGEST} pixels",
        )
    return width, height
