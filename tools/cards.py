"""Complete the model cards from the common parameter rules: `uv run python -m tools.cards [--check]`.

Dify reads each card separately, so every card repeats label, type and help of its parameters. A maintainer writes only
the values specific to the model (`name`, `default`, `min`, `max`, `options` ...); this command adds the rest and the
features of every model. No card declares `polling`: it depends on the field `waiting` of the form. No card has the parameters
of EVERY_MODEL, because the schema that Dify asks for adds them: on the cards they made each start of the plugin slower.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from models.backends.registry import BACKENDS
from models.catalog import CARDS, card_files, service_of
from models.parameters import EVERY_MODEL, RULES, Rule

_PARTICULAR = ("required", "default", "min", "max", "precision", "options")


def rules_of(backend: str) -> dict[str, Rule]:
    """The common parameters and those of `backend`."""
    return {**RULES, **{rule.name: rule for rule in BACKENDS[backend].extra_rules}}


def rendered(card: Mapping[str, object], backend: str) -> str:
    """The card's YAML text with complete parameter rules. Raises KeyError for a parameter without a rule."""
    known = rules_of(backend)
    entries = card["parameter_rules"]
    assert isinstance(entries, list)  # noqa: S101 -- Card says so, this only tells the type checker
    everywhere = {rule.name for rule in EVERY_MODEL}
    rules = [_entry(known[entry["name"]], entry) for entry in entries if entry["name"] not in everywhere]
    complete = {**card, "features": _features(card["features"]), "parameter_rules": rules}
    return yaml.safe_dump(complete, sort_keys=False, allow_unicode=True, width=120)


def _features(given: object) -> list[str]:
    assert isinstance(given, list)  # noqa: S101 -- Card says so, this only tells the type checker
    return ["structured-output", *(name for name in given if name not in {"structured-output", "polling"})]


def _entry(rule: Rule, given: Mapping[str, object]) -> dict[str, object]:
    own = {key: given[key] for key in _PARTICULAR if key in given}
    whole = rule.narrowed(**own).model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {key: _tidy(value) for key, value in whole.items()}


def _tidy(value: object) -> object:
    # `min: 1.0` of a whole-number parameter reads better as `min: 1`.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _wanted(path: Path, text: str) -> str:
    try:
        return rendered(yaml.safe_load(text), service_of(path.stem))
    except yaml.YAMLError as error:
        sys.exit(f"{path} is not YAML: {error}")
    except KeyError as error:
        sys.exit(f"{path}: there is no rule for {error}; add one to the common parameters or to the backend")


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--check", action="store_true", help="write nothing; fail if a card is outdated")
    check = options.parse_args().check
    stale: list[Path] = []
    for path in card_files().values():
        text = path.read_text("utf-8")
        wanted = _wanted(path, text)
        if wanted != text:
            stale.append(path)
            if not check:
                path.write_text(wanted, "utf-8")
    for path in stale:
        print(f"{'outdated' if check else 'written'}: {path.relative_to(CARDS.parent.parent)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
