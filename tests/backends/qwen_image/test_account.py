"""The address of an account, and the errors for a key that does not match."""

import pytest

from models.backends.qwen_image.account import RefusalContext, compatible_base, explain, key_advice, read_account
from models.backends.reply import Reply
from models.settings import Access
from tests.asking import bound
from tests.fakes import MARKER_KEY


def access(*, region: str = "", base_url: str = "") -> Access:
    return Access(prefix="dashscope", api_key=MARKER_KEY, region=region, base_url=base_url)


@pytest.mark.parametrize(
    ("region", "base_url"),
    [
        ("", "https://dashscope.aliyuncs.com/api/v1"),
        ("beijing", "https://dashscope.aliyuncs.com/api/v1"),
        ("singapore", "https://dashscope-intl.aliyuncs.com/api/v1"),
        ("us", "https://dashscope-us.aliyuncs.com/api/v1"),
    ],
)
def test_every_region_has_its_own_address(region: str, base_url: str) -> None:
    account = read_account(access(region=region))
    assert (account.base_url, account.region) == (base_url, region or "beijing")


@pytest.mark.parametrize(
    ("given", "base_url", "region"),
    [
        ("https://dashscope-intl.aliyuncs.com/api/v1/", "https://dashscope-intl.aliyuncs.com/api/v1", "singapore"),
        ("https://dashscope-us.aliyuncs.com", "https://dashscope-us.aliyuncs.com/api/v1", "us"),
        (
            "https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1",
            "https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1",
            "singapore",
        ),
        (
            "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1",
            "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1",
            "beijing",
        ),
        (
            "https://cn-hongkong.dashscope.aliyuncs.com/api/v1",
            "https://cn-hongkong.dashscope.aliyuncs.com/api/v1",
            None,
        ),
        ("http://gateway.lan:8080/qwen/api/v1", "http://gateway.lan:8080/qwen/api/v1", None),
    ],
)
def test_an_address_overrides_the_region_and_determines_it(given: str, base_url: str, region: str | None) -> None:
    account = read_account(access(base_url=given, region="us"))
    assert (account.base_url, account.region) == (base_url, region)


def test_a_login_in_the_address_never_appears_in_messages() -> None:
    form = {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": "https://me:secret@gateway.lan/api/v1"}
    service = bound("qwen-image-2.0", form).service
    account = read_account(access(base_url=form["dashscope_base_url"]))
    assert service.base_url == "https://gateway.lan/api/v1"
    assert "secret" in service.secrets
    assert "secret" not in f"{account.place} {key_advice(account)}"


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("gateway.lan:8080", "http://gateway.lan:8080/api/v1"),
        ("dashscope-intl.aliyuncs.com", "https://dashscope-intl.aliyuncs.com/api/v1"),
    ],
)
def test_an_address_needs_no_scheme(given: str, base_url: str) -> None:
    assert read_account(access(base_url=given)).base_url == base_url


def test_the_compatible_api_is_derived_from_the_native_address() -> None:
    account = read_account(access(region="singapore"))
    assert compatible_base(account.base_url) == "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"


@pytest.mark.parametrize(
    ("key", "base_url", "token_plan"),
    [
        ("sk-1", "", False),
        ("sk-sp-1", "", True),
        ("sk-1", "https://token-plan.cn-beijing.maas.aliyuncs.com/api/v1", True),
    ],
)
def test_a_token_plan_is_detected_by_key_or_address(key: str, base_url: str, token_plan: bool) -> None:
    assert read_account(Access(api_key=key, base_url=base_url)).token_plan == token_plan


def test_the_next_step_names_the_fields_of_the_form() -> None:
    assert "choose that in “Model Studio region” (dashscope_region)" in key_advice(read_account(access(region="us")))
    assert "check “API key” (api_key) and “Base URL” (base_url) in the model's settings" in key_advice(
        read_account(Access(api_key="sk-1", base_url="https://gateway.lan/api/v1"))
    )


def test_a_refused_key_without_a_code_has_the_same_next_step() -> None:
    account = read_account(access())
    asked = RefusalContext(account, "qwen-image-2.0", ("beijing",), 120)
    reply = Reply(401, {"content-type": "application/json"}, b'{"message": "Unauthorized"}')
    assert explain(asked, reply).next_step == key_advice(account)


@pytest.mark.parametrize(("rate", "seconds"), [(2, 30.0), (30, 15.0), (59, 15.0), (60, None), (120, None)])
def test_a_model_with_a_limit_per_minute_waits_longer(rate: int, seconds: float | None) -> None:
    reply = Reply(429, {"content-type": "application/json"}, b'{"code": "Throttling.RateQuota", "message": "slow"}')
    waits = explain(RefusalContext(read_account(access()), "qwen-image-2.0", ("beijing",), rate), reply).retry_after
    assert waits is not None
    assert (waits if waits >= 15 else None) == seconds


def test_a_token_plan_key_at_its_own_address_is_not_sent_elsewhere() -> None:
    url = "https://token-plan.cn-beijing.maas.aliyuncs.com/api/v1"
    advice = key_advice(read_account(Access(api_key="sk-sp-1", base_url=url)))
    assert advice.startswith("Key, address and model must belong to the same region")
