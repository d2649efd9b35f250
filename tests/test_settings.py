"""Settings: the form's value, else the environment's, else the default; and the secret fields."""

from pathlib import Path

import pytest
import yaml

from models.settings import SECRET_ENDINGS, SHARED_FIELDS, Access, Settings, field_words, read_headers
from tests.fakes import MARKER_KEY

SCHEMA = yaml.safe_load(Path("provider/image_generation.yaml").read_text("utf-8"))
FORMS = {
    name: {field["variable"]: field for field in SCHEMA[name]["credential_form_schemas"]}
    for name in ("provider_credential_schema", "model_credential_schema")
}
PROVIDER, MODEL = FORMS.values()
BOTH = pytest.mark.parametrize("form", FORMS.values(), ids=["provider", "model"])


def test_the_form_overrides_the_environment_and_the_environment_the_default() -> None:
    environment = {"IMAGE_GENERATION_STABILITY_API_KEY": " from-the-environment "}
    assert Settings({"stability_api_key": " own "}, environment).text("stability_api_key", "default") == "own"
    for empty in ({}, {"stability_api_key": ""}, {"stability_api_key": "  "}, {"stability_api_key": None}):
        settings = Settings(empty, environment)
        assert settings.text("stability_api_key", "default") == "from-the-environment"
    assert Settings({}, {}).text("stability_api_key", "default") == "default"


@pytest.mark.parametrize("variable", PROVIDER)
def test_every_field_of_the_providers_form_may_come_from_the_environment(variable: str) -> None:
    assert Settings({}, {f"IMAGE_GENERATION_{variable.upper()}": "value"}).text(variable) == "value"


def test_a_customizable_model_takes_only_shared_fields_from_the_environment() -> None:
    names = ("api_key", "base_url", "headers", "workflow", *SHARED_FIELDS)
    environment = {f"IMAGE_GENERATION_{name.upper()}": f"the {name}" for name in names}
    settings = Settings({"backend": "comfyui"}, environment)
    assert [name for name in names if settings.text(name)] == list(SHARED_FIELDS)


def test_access_reads_the_services_fields_of_the_form_and_the_environment() -> None:
    access = Access.read(
        Settings({"comfyui_base_url": "http://gpu"}, {"IMAGE_GENERATION_COMFYUI_API_KEY": "Bearer k-1"}), "comfyui"
    )
    assert (access.prefix, access.base_url, access.api_key) == ("comfyui", "http://gpu", "k-1")


def test_access_reads_the_fields_of_a_customizable_model() -> None:
    values = {"backend": "comfyui", "base_url": "gpu:8188", "headers": "X-Team: art", "comfyui_api_key": "other"}
    access = Access.read(Settings(values, {}), "comfyui")
    assert (access.prefix, access.base_url, access.api_key, access.headers) == ("", "gpu:8188", "", {"X-Team": "art"})


@pytest.mark.parametrize("word", ["Bearer ", "bearer  ", "BEARER "])
def test_a_pasted_bearer_prefix_is_removed(word: str) -> None:
    assert Access.read(Settings({"stability_api_key": f"{word}sk-1"}, {}), "stability").api_key == "sk-1"


@pytest.mark.parametrize(
    "text",
    [
        "X-Tenant: art; X-Key: abc",
        "X-Tenant: art\nX-Key: abc\n",
        " X-Tenant:art ;; X-Key :abc;",
        '{"X-Tenant": "art", "X-Key": "abc"}',
    ],
)
def test_headers_are_pairs_or_a_json_object(text: str) -> None:
    assert read_headers(text.strip()) == {"X-Tenant": "art", "X-Key": "abc"}


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("Accept: text/html; q=0.8; X-A: b", {"Accept": "text/html; q=0.8", "X-A": "b"}),
        ("Cookie: a=1; b=2", {"Cookie": "a=1; b=2"}),
        ("X-Address: http://a:1/b", {"X-Address": "http://a:1/b"}),
        ('{"X-Number": 4}', {"X-Number": "4"}),
        ("X-A: a; X-B: c=d", {"X-A": "a", "X-B": "c=d"}),
    ],
)
def test_header_values_keep_their_separators(text: str, headers: dict[str, str]) -> None:
    assert read_headers(text) == headers


@pytest.mark.parametrize(
    "text",
    [
        *(MARKER_KEY, f": {MARKER_KEY}", f"X A: {MARKER_KEY}", f"X-A: b; {MARKER_KEY}", f"名: {MARKER_KEY}"),
        *(f'{{"X-A": "{MARKER_KEY}"', f'{{"X-A": ["{MARKER_KEY}"]}}', f"X-A: {MARKER_KEY}\u200b"),
    ],
)
def test_invalid_headers_are_refused_without_quoting_values(text: str) -> None:
    with pytest.raises(ValueError, match="headers") as refused:
        read_headers(text)
    assert MARKER_KEY not in str(refused.value)


@BOTH
def test_secret_fields_of_the_forms_are_the_secrets_of_the_code(form: dict[str, dict[str, object]]) -> None:
    drawn = {variable for variable, field in form.items() if field["type"] == "secret-input"}
    assert drawn == {variable for variable in form if variable.endswith(SECRET_ENDINGS)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q=0.8", "`headers` has no header name before the value of pair 1"),
        ("X-A: b; word", "`headers` has no header name before the value of pair 2"),
        ("X-A: \x07", "The value of X-A in `headers` has characters that no header can carry"),
        ('{"X-A": null}', "The value of X-A in `headers` is neither text nor a number"),
    ],
)
def test_a_message_on_headers_names_the_pair(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="headers") as refused:
        read_headers(text)
    assert str(refused.value) == said


def test_the_words_of_headers_that_cannot_be_read_are_secret() -> None:
    found = set(Settings({"backend": "comfyui", "headers": "Bad Name: k1;k2"}, {}).secrets)
    assert found == {"Bad Name: k1;k2", "Bad", "Name", "k1", "k2"}


def test_the_secrets_of_one_service_are_its_keys_and_header_values() -> None:
    access = Access(api_key="k1", password="p1", comfy_account_api_key="k2", headers={"X-Id": "t-7", "X-Team": "art"})
    assert access.secrets == ("k1", "p1", "k2", "t-7")
    assert Access(headers={"Authorization": "Basic abc"}).secrets == ("Basic abc", "abc")
    assert Access().secrets == ()


def test_the_state_is_in_the_named_folder_else_in_the_plugins() -> None:
    assert Settings({}, {"IMAGE_GENERATION_STATE_DIR": " /srv/state "}).state_folder == Path("/srv/state")
    for environment in ({}, {"IMAGE_GENERATION_STATE_DIR": " "}):
        assert Settings({}, environment).state_folder == Path(__file__).parents[1]


def test_secrets_come_from_the_form_and_the_environment() -> None:
    values = {"stability_api_key": "Bearer sk-1234", "comfyui_password": "hunter2", "comfyui_username": "me"}
    environment = {"IMAGE_GENERATION_DASHSCOPE_API_KEY": "sk-9", "OTHER_API_KEY": "x"}
    assert set(Settings(values, environment).secrets) == {"Bearer sk-1234", "sk-1234", "hunter2", "sk-9"}


def test_header_values_are_secrets_except_plain_words() -> None:
    values = {"backend": "openai_images", "headers": "Authorization: Basic eHg6eXk=; X-Tenant: images; X-Id: t-77"}
    secrets = Settings(values, {}).secrets
    assert {"Basic eHg6eXk=", "eHg6eXk=", "t-77"} <= set(secrets)
    assert "images" not in secrets
    assert "images" not in Access.read(Settings(values, {}), "openai_images").secrets


def test_the_login_of_an_address_is_secret() -> None:
    secrets = Settings({"comfyui_base_url": "http://me:p%40ss@gpu:8188", "storage_url": "s3://K1:S1@h/b"}, {}).secrets
    assert {"p%40ss", "p@ss", "s3://K1:S1@h/b", "K1", "S1"} == set(secrets)


def test_the_login_of_every_address_of_a_list_is_secret() -> None:
    addresses = "http://me:first@gpu1:8188, http://gpu2:8188,http://you:third@gpu3:8188"
    assert set(Settings({"comfyui_base_url": addresses}, {}).secrets) == {"first", "third"}


def test_neither_settings_nor_access_print_a_secret() -> None:
    settings = Settings({"backend": "comfyui", "api_key": MARKER_KEY, "base_url": f"http://me:{MARKER_KEY}@gpu"}, {})
    assert MARKER_KEY not in f"{settings!r} {Access.read(settings, 'comfyui')!r}"


def test_a_field_is_named_by_its_label_and_its_variable() -> None:
    access = Access.read(Settings({}, {}), "stability")
    assert access.where("api_key") == "“Stability AI API key” (stability_api_key) in the provider's settings"
    own = Access.read(Settings({"backend": "stability"}, {}), "stability")
    assert own.where("api_key") == "“API key” (api_key) in the model's settings"
    assert access.where("no_such_field") == "the environment variable IMAGE_GENERATION_STABILITY_NO_SUCH_FIELD"
    assert own.where("no_such_field") == "`no_such_field` in the model's settings"
    assert field_words("no_such_field", custom=False) == "`no_such_field`"


def test_a_value_of_the_environment_is_named_by_its_variable() -> None:
    environment = {"IMAGE_GENERATION_LIMITS": "images 4"}
    assert Settings({}, environment).where("limits") == "the environment variable IMAGE_GENERATION_LIMITS"
    assert Settings({"limits": "images 2"}, environment).where("limits").startswith("“Limits” (limits) in the provider")


@BOTH
def test_a_form_is_valid_for_dify(form: dict[str, dict[str, object]]) -> None:
    assert len(form) <= 32
    for variable, field in form.items():
        assert "default" not in field, f"{variable}: Dify would store it and hide the environment's value"
        assert isinstance(field["required"], bool)
        for words in filter(None, (field["label"], field.get("placeholder"))):
            assert {"en_US", "zh_Hans"} <= set(words)  # type: ignore[call-overload]


def test_every_field_has_a_placeholder() -> None:
    silent = [
        v for form in FORMS.values() for v, field in form.items() if v != "backend" and "placeholder" not in field
    ]
    assert silent == []


def test_the_shared_fields_are_the_same_in_both_forms() -> None:
    for variable in SHARED_FIELDS:
        assert PROVIDER[variable] == MODEL[variable]
    assert set(PROVIDER) & set(MODEL) == set(SHARED_FIELDS)


def test_waiting_is_a_choice_of_two() -> None:
    assert [option["value"] for option in PROVIDER["waiting"]["options"]] == ["direct", "polling"]


@pytest.mark.parametrize("name", ["base_url", "api_key", "username", "password", "headers"])
@pytest.mark.parametrize("custom", [True, False])
def test_another_key_or_address_is_another_account(name: str, custom: bool) -> None:
    form = {"backend": "comfyui"} if custom else {}
    name = name if custom else f"comfyui_{name}"
    one, other, same = (Settings({**form, name: value}, {}).fingerprint for value in ("a", "b", " a "))
    assert one == same != other
    assert one != Settings(form, {}).fingerprint
    assert len(one) == 32


@pytest.mark.parametrize("name", ["limits", "moderation_api_key", "webhook_url", "waiting", "remote_model"])
def test_other_fields_do_not_make_another_account(name: str) -> None:
    for form in ({"backend": "comfyui", "api_key": "k"}, {"comfyui_api_key": "k"}):
        assert Settings({**form, name: "a"}, {}).fingerprint == Settings(form, {}).fingerprint
