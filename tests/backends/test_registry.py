"""Which backend serves a model name and a form."""

import pytest

from models.backends.errors import BadRequest
from models.backends.registry import BACKENDS, COMMON_RULES
from models.catalog import cards
from tests.asking import bound
from tests.fakes import FakeClock


def test_a_predefined_model_is_served_by_the_backend_of_its_card(clock: FakeClock) -> None:
    backend = bound("glm-image", {}, clock)
    assert (type(backend), backend.clock) == (BACKENDS["zhipu"], clock)


def test_a_model_of_ones_own_is_served_by_the_backend_in_its_form() -> None:
    assert type(bound("glm-image", {"backend": "fal", "remote_model": "fal-ai/x"})) is BACKENDS["fal"]


@pytest.mark.parametrize("name", ["none", "auto", "preview"])
def test_a_form_names_a_backend_that_models_of_ones_own_may_have(name: str) -> None:
    usable = [name for name, kind in BACKENDS.items() if kind.customizable]
    with pytest.raises(BadRequest) as refusal:
        bound("mine", {"backend": name})
    assert str(refusal.value) == f"There is no backend {name!r}. Choose one of {', '.join(usable)}."


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(BadRequest) as refusal:
        bound("none", {})
    assert (refusal.value.attempted, refusal.value.next_step) == (
        "There is no model 'none'",
        f"Choose one of {', '.join(cards())}",
    )


def test_all_models_have_some_parameters() -> None:
    assert [rule.name for rule in COMMON_RULES] == ["seed", "output_format", "output_quality", "details", "timeout"]
