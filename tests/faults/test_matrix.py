"""A fast form of the fault matrix: the cells that are told within a minute, for every service."""

import pytest

from benchmarks.fault_targets import TARGETS
from benchmarks.faults import cells, outcomes, repeated, table
from models.backends.registry import BACKENDS

NO_SERVICE = {"auto", "contact_sheet", "preview"}
FAST = [cell for cell in cells() if cell.fault.fast and (cell.within <= 60 or cell.fault.name == "none")]


def test_every_service_is_in_the_matrix() -> None:
    assert {target.name.partition(" ")[0] for target in TARGETS} == set(BACKENDS) - NO_SERVICE


def test_cells_have_names_of_their_own() -> None:
    names = [cell.name for cell in cells()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("service", [target.name for target in TARGETS])
def test_every_fault_is_told_as_it_should(service: str) -> None:
    seen = repeated(list(outcomes(cell for cell in FAST if cell.target.name == service)))
    assert {cell.stage for cell, _ in seen} >= {"submit"}
    assert {cell.name: list(one.wrongs(cell)) for cell, one in seen if any(one.wrongs(cell))} == {}
    assert "!" not in "".join(table(seen))
