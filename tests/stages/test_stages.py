"""The lists of stages: what is configured is there, and nothing else is imported."""

import sys

import pytest

from models import stages
from models.backends.errors import BadRequest
from models.settings import Settings

OPTIONAL = ("request_limits", "forbidden_words")


def names(**values: str) -> list[str]:
    listed = stages.before_service(Settings(values, {}))
    return [type(stage).__module__.rpartition(".")[2] for stage in listed]


def test_the_order_of_the_stages() -> None:
    assert names(limits="images 4", forbidden_words="nude") == ["request_limits", "input_rules", "forbidden_words"]


@pytest.mark.parametrize("limits", ["images 4", "megapixels 1", "timeout 60"])
def test_a_limit_for_one_request_brings_its_stage(limits: str) -> None:
    assert names(limits=limits) == ["request_limits", "input_rules"]


def test_what_is_not_configured_is_neither_listed_nor_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OPTIONAL:
        monkeypatch.delitem(sys.modules, f"models.stages.{name}", raising=False)
    assert names() == ["input_rules"]
    assert not [name for name in OPTIONAL if f"models.stages.{name}" in sys.modules]


def test_limits_that_cannot_be_read_are_refused_before_a_request_and_still_observed() -> None:
    settings = Settings({"limits": "images none"}, {})
    with pytest.raises(BadRequest, match="“images none”"):
        stages.before_service(settings)
    assert len(stages.observers(settings)) == 1
