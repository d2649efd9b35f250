"""The model cards match the common rules, and all parameters switched on give a valid request."""

import base64
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from models.backends.registry import BACKENDS
from models.catalog import CARDS, Card, Lazy, Pricing, card_files, card_for, cards, listed, nameable, service_of
from models.entities import Price
from models.parameters import EVERY_MODEL, read_values
from models.request.build import build_request
from models.request.conversation import Conversation
from models.sizes import FreeSizes, ratio_of, same_shape
from tests.asking import bound, image_part
from tests.fakes import image_file
from tools.cards import rendered, rules_of

EVERY_CARD = pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.model)


def test_every_card_belongs_to_a_registered_backend() -> None:
    assert {card.backend for card in cards().values()} <= set(BACKENDS)


@pytest.mark.parametrize("path", card_files().values(), ids=lambda path: path.stem)
def test_a_card_matches_the_providers_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    assert rendered(yaml.safe_load(text), service_of(path.stem)) == text


@EVERY_CARD
def test_a_card_stays_within_the_providers_rules_and_names_its_features(card: Card) -> None:
    known = rules_of(card.backend)
    names = [rule.name for rule in card.rules]
    assert len(names) == len(set(names))
    of_images = () if "duration" in names else ("output_format", "output_quality")  # videos are not encoded again
    assert {"details", "timeout", *of_images} <= set(names)
    assert not {rule.name for rule in EVERY_MODEL} & set(names), "the schema adds them, and each start reads the cards"
    assert "structured-output" in card.features
    assert "polling" not in card.features, "the owner's form chooses polling"
    for rule in card.rules:
        assert (rule.type, rule.label, rule.help) == (
            known[rule.name].type,
            known[rule.name].label,
            known[rule.name].help,
        )
        low, high = known[rule.name].min, known[rule.name].max
        assert low is None or rule.min is None or rule.min >= low
        assert high is None or rule.max is None or rule.max <= high


@EVERY_CARD
def test_vision_is_declared_if_images_are_accepted(card: Card) -> None:
    backend = bound(card.model, {})
    assert (backend.capabilities.images > 0) == card.vision


@EVERY_CARD
def test_every_number_has_a_default_so_that_dify_never_sends_the_minimum(card: Card) -> None:
    assert [rule.name for rule in card.rules if rule.type in {"int", "float"} and rule.default is None] == []


@EVERY_CARD
def test_all_parameters_switched_on_ask_for_one_image_of_a_sane_size(card: Card) -> None:
    """With a minimum as the default, an image had 16 pixels and the job one second."""
    switched_on = {rule.name: "" if rule.default is None else rule.default for rule in (*card.rules, *EVERY_MODEL)}
    photo, mask = (
        image_part(base64.b64encode(image_file(768, 512)).decode(), "", name) for name in ("a.png", "mask.png")
    )
    images = () if not card.vision else (photo,) if "fill" not in card.model else (photo, mask)
    request = build_request(bound(card.model, {}), Conversation("a red fox", images), switched_on, timeout=590)
    assert request.n == 1
    assert request.timeout >= 60
    assert request.size is None or min(request.size) >= 256
    assert all(number >= 1 for name, number in request.extra.items() if name == "steps" and isinstance(number, int))


@EVERY_CARD
def test_every_preset_of_a_card_is_a_size_that_the_model_takes(card: Card) -> None:
    sizes = card.facts.get("sizes")
    if isinstance(sizes, dict) and sizes.get("rule") == "free":
        rule = FreeSizes.model_validate(sizes)
        assert [size for size in (rule.default, *rule.presets.values()) if size and rule.nearest(size) != size] == []
        assert all(same_shape(ratio_of(name), size[0] / size[1], 1.05) for name, size in rule.presets.items())


@EVERY_CARD
def test_all_parameters_switched_on_are_read_as_their_defaults(card: Card) -> None:
    rules = (*card.rules, *EVERY_MODEL)
    switched_on = {rule.name: rule.default for rule in rules if rule.default is not None}
    values = read_values(rules, switched_on)
    assert values == {name: value for name, value in switched_on.items() if name != "seed"}


def test_preview_is_the_first_model_because_dify_makes_the_first_the_default_language_model() -> None:
    """Dify asks that model for a title after each new conversation; a paid model there costs an image each time."""
    order = yaml.safe_load((CARDS / "_position.yaml").read_text("utf-8"))
    assert order[0] == "preview"


def test_a_card_belongs_to_its_own_backend() -> None:
    assert card_for("preview", "preview") is cards()["preview"]
    assert card_for("stability", "preview") is None
    assert card_for("preview", "no-such-model") is None
    assert (service_of("preview"), service_of("no-such-model")) == ("preview", "")


def test_a_card_is_read_when_it_is_asked_for_and_only_once() -> None:
    made: list[int] = []

    def make(source: int) -> int:
        made.append(source)
        return 10 * source

    lazy = Lazy({"a": 1, "b": 2}, make)
    assert (len(lazy), list(lazy), made) == (2, ["a", "b"], [])
    assert (lazy["a"], lazy["a"], made) == (10, 10, [1])
    assert "c" not in lazy
    assert len(cards()) == len(card_files())


def test_all_models_but_those_that_make_no_image_can_be_named() -> None:
    assert set(listed()) - set(nameable()) == {"auto", "contact-sheet"}
    assert nameable()[0] == "preview"


def test_the_price_of_a_card_is_that_of_its_output_in_its_unit() -> None:
    pricing = Pricing(input=Decimal(0), output=Decimal(3), unit=Decimal("0.01"), currency="CNY")
    card = cards()["preview"].model_copy(update={"pricing": pricing})
    assert card.price_per_image == Price(Decimal("0.03"), "CNY")
    assert card.model_copy(update={"pricing": None}).price_per_image is None
