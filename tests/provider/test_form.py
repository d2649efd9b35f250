"""The two forms of the provider as Dify's page shows them."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROVIDER: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "provider" / "image_generation.yaml").read_text("utf-8")
)
FORMS = ("provider_credential_schema", "model_credential_schema")
LONGEST_PLACEHOLDER = 60  # Latin letters, of which a Chinese character takes two: more is cut by the page's field


def fields(form: str) -> Iterator[dict[str, Any]]:
    yield from PROVIDER[form]["credential_form_schemas"]


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@pytest.mark.parametrize("form", FORMS)
def test_no_placeholder_or_option_is_cut(form: str) -> None:
    texts = [
        (field["variable"], text)
        for field in fields(form)
        for words in (field.get("placeholder", {}), *(option["label"] for option in field.get("options", ())))
        for text in words.values()
    ]
    assert [entry for entry in texts if width(entry[1]) > LONGEST_PLACEHOLDER] == []


@pytest.mark.parametrize("form", FORMS)
def test_no_field_has_a_default_that_would_hide_the_environment(form: str) -> None:
    assert [field["variable"] for field in fields(form) if "default" in field] == []


def test_fields_that_some_services_do_not_use_say_so() -> None:
    """`show_on` can name one service only, so these fields stand in the form of every service."""
    said = {field["variable"]: field.get("placeholder", {}).get("en_US", "") for field in fields(FORMS[1])}
    assert said["api_key"].startswith("Hosted services")
    assert said["username"].startswith("Own servers")
    assert said["remote_model"].startswith("Not for ComfyUI and WebUI")
    assert said["headers"].startswith("For gateways")


def test_help_is_about_both_forms() -> None:
    """Dify shows it at the foot of the provider's form and of *Add Model*."""
    assert set(PROVIDER["help"]["url"]) == set(PROVIDER["help"]["title"]) == {"en_US", "zh_Hans"}
    assert all("dify.ai" in url for url in PROVIDER["help"]["url"].values())
