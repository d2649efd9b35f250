"""The grammar of `limits`: accepted and refused entries, and the error messages."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.limits import Limits, Quota, account_of, language_of
from models.settings import Settings


def read(text: str) -> Limits:
    return Limits.read(Settings({"limits": text}, {}))


def refusal(text: str) -> str:
    with pytest.raises(BadRequest) as refused:
        read(text)
    return str(refused.value)


@pytest.mark.parametrize("text", ["", " ", ",", "，\n"])
def test_an_empty_field_gives_the_defaults(text: str) -> None:
    assert read(text) == Limits()
    assert (Limits().input_mb, Limits().instruction, Limits().audit) == (10, 2000, "hash")
    assert Limits().formats == ("image/jpeg", "image/png", "image/webp")


@pytest.mark.parametrize(
    "text",
    [
        "images 4, megapixels 2.5, timeout 900",
        "images 4\nmegapixels 2.5\n timeout 900\n",
        "IMAGES 4，Megapixels 2.5，timeout 900s",
        "images: 4; megapixels = 2.5; timeout=900",
        "ｉｍａｇｅｓ ４、megapixels 2.5、timeout 900",
    ],
)
def test_entries_are_separated_by_commas_or_newlines_in_any_case_and_width(text: str) -> None:
    assert read(text) == Limits(images=4, megapixels=2.5, timeout=900)


def test_the_rules_for_input_images_are_read() -> None:
    assert read("input 5 MB, formats JPG .png jpeg, instruction 200") == Limits(
        input_mb=5, formats=("image/jpeg", "image/png"), instruction=200
    )
    assert read("input 0, formats 0, instruction 0") == Limits(input_mb=0, formats=(), instruction=0)
    assert read("input 2.5mb").input_mb == 2.5


def test_hosts_are_names_or_addresses_with_or_without_a_port() -> None:
    assert read("hosts CDN.example images.example:8443 10.0.0.7 [fd00::7]:80").hosts == (
        *("cdn.example", "images.example:8443", "10.0.0.7", "[fd00::7]:80"),
    )
    assert "cannot be read. Write host names like" in refusal("hosts https://cdn.example/images")


@pytest.mark.parametrize("audit", ["text", "hash", "none"])
def test_audit_sets_how_the_prompt_is_logged(audit: str) -> None:
    assert read(f"audit {audit.upper()}").audit == audit


@pytest.mark.parametrize(
    "entry",
    [
        *("images", "images 0", "images -1", "images 1.5", "images many", "images inf", "images 1e3", "images 4 5"),
        *("megapixels 0", "megapixels nan", "megapixels inf", "megapixels -2", "megapixels 4 MB"),
        *("timeout 0", "timeout -1", "timeout inf", "timeout 9999999999", "timeout 5 minutes"),
        *("input -1", "input ten", "input 10 GB", "input nan", "instruction 1.5", "instruction inf"),
        *("formats", "formats exe", "formats jpg exe", "audit", "audit all", "audit text hash"),
    ],
)
def test_an_invalid_entry_is_quoted_with_the_correct_form(entry: str) -> None:
    said = refusal(f"audit none, {entry}" if not entry.startswith("audit") else entry)
    assert said.startswith(f"“{entry}” in “Limits” (limits) in the provider's settings cannot be read. Write ")


def test_an_unknown_entry_lists_the_known_ones() -> None:
    said = refusal("images 4, photos 5")
    assert said.startswith("“photos 5” in “Limits” (limits) in the provider's settings is not a limit.")
    assert "`images 4`" in said
    assert refusal("x" * 81).startswith(f"“{'x' * 80}” in ")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        *(
            ("", "en"),
            ("language en", "en"),
            ("language zh", "zh"),
            ("images 4，language：ZH", "zh"),
            ("language=ｚｈ", "zh"),
        ),
        *(("images none, language zh", "zh"), ("language fr", "en"), ("account language zh", "en")),
    ],
)
def test_the_language_of_messages_is_known_even_where_another_entry_cannot_be_read(text: str, language: str) -> None:
    assert language_of(Settings({"limits": text}, {})) == language
    if not text.startswith(("images none", "language fr")):
        assert Limits.read(Settings({"limits": text}, {})).language == language


def test_the_models_that_may_be_named_are_listed() -> None:
    limits = Limits.read(Settings({"limits": "images 4, models qwen-image-2.0  Preview qwen-image-2.0, timeout 9"}, {}))
    assert limits.models == ("qwen-image-2.0", "preview")
    assert Limits.read(Settings({}, {})).models == ()


@pytest.mark.parametrize("name", ["qwen-image-9", "auto"])
def test_a_listed_model_that_does_not_exist_is_refused(name: str) -> None:
    said = refusal(f"models preview {name}")
    assert f"names {name}, which is no model. Choose from " in said
    assert "qwen-image-2.0" in said or name == "auto"


def test_the_account_is_its_name_else_a_hash_of_keys_and_addresses() -> None:
    form = {"stability_api_key": "sk-1", "limits": "images 4"}
    account = account_of(Settings(form, {}))
    assert account == account_of(Settings({**form, "limits": "images 5", "marks": "opacity 1"}, {}))
    assert account == account_of(Settings({"limits": "images 4"}, {"IMAGE_GENERATION_STABILITY_API_KEY": "sk-1"}))
    assert account != account_of(Settings({**form, "stability_api_key": "sk-2"}, {}))
    assert "sk-1" not in account
    assert account_of(Settings({**form, "limits": "account Team One"}, {})) == "team one"


@pytest.mark.parametrize(
    ("entry", "seconds"),
    [("", 86_400), ("cache 30m", 1_800), ("cache 24 H", 86_400), ("cache: 7d", 604_800), ("cache=１h", 3_600)],
)
def test_the_age_of_cached_images(entry: str, seconds: float) -> None:
    assert read(entry).cache == seconds


def test_quotas_are_read_in_any_order_case_and_width() -> None:
    text = "10/minute, 200 / Day、user 20/day, 5 USD/day, user 0.5 usd / month, ３０００/month"
    assert read(text).quotas == (
        Quota(Decimal(10), "minute"),
        Quota(Decimal(200), "day"),
        Quota(Decimal(20), "day", per_user=True),
        Quota(Decimal(5), "day", "USD"),
        Quota(Decimal("0.5"), "month", "USD", per_user=True),
        Quota(Decimal(3000), "month"),
    )
    assert [str(quota) for quota in read("user 0.5 usd / month, 10/minute").quotas] == [
        "user 0.5 USD/month",
        "10/minute",
    ]


def test_the_same_limit_twice_is_refused() -> None:
    assert "“images 5”" in refusal("images 4, images 5")
    assert "“20/day” in “Limits” (limits) in the provider's settings limits the same per day again" in refusal(
        "10/day, user 10/day, 10 USD/day, 20/day"
    )


def test_a_message_names_the_models_form_or_the_environment() -> None:
    with pytest.raises(BadRequest, match="in the model's settings"):
        Limits.read(Settings({"backend": "comfyui", "limits": "images 0"}, {}))
    with pytest.raises(BadRequest, match="the environment variable IMAGE_GENERATION_LIMITS"):
        Limits.read(Settings({}, {"IMAGE_GENERATION_LIMITS": "images 0"}))


@pytest.mark.parametrize(
    "entry",
    [
        *("10/hour", "0/day", "-5/day", "1.5/day", "user 20", "5 dollars/day", "10", "nan USD/day", "0 USD/day"),
        *("models", "hosts", "cache 0h", "cache 24", "cache -1h", "language fr", "account"),
    ],
)
def test_a_bad_quota_or_entry_is_refused(entry: str) -> None:
    assert refusal(entry).startswith(f"“{entry}” in “Limits” (limits) in the provider's settings ")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert read(text) == read(f" {text} ,")
    except BadRequest as refused:
        assert "“Limits” (limits) in the provider's settings" in str(refused)  # noqa: PT017 -- both are right
