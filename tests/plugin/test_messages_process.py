"""Messages of the plugin process: Chinese with `limits: language zh`, English without."""

import json
from collections.abc import Mapping

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user
from tests.fakes import MARKER_KEY
from tests.servers.stability import FakeStability

type Form = Mapping[str, JsonValue]

CHINESE: Form = {"limits": "language zh"}
PROMPT = [user("a fox")]
LATE: Form = {"details": True, "simulate_seconds": 1, "timeout": 7000}


def refused(plugin: Host, form: Form, *, stream: bool) -> str:
    with pytest.raises(PluginError) as raised:
        plugin.invoke("preview", form, PROMPT, {"width": "wide"}, stream=stream)
    assert raised.value.error_type == "InvokeBadRequestError"
    return raised.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal(plugin: Host, stream: bool) -> None:
    assert "参数 `width` 不能为 'wide'。请填写整数。" in refused(plugin, CHINESE, stream=stream)
    assert "The parameter `width` cannot be 'wide'. Give a whole number." in refused(plugin, {}, stream=stream)


def notices(text: str) -> list[str]:
    """The notices in the line of details, behind the progress if there is any."""
    found: list[str] = json.loads(text.rpartition("</think>\n\n")[2].partition("\n")[0])["notices"]
    return found


def test_a_notice_and_the_progress_of_a_stream(plugin: Host) -> None:
    chinese = plugin.invoke("preview", CHINESE, PROMPT, LATE, stream=True)
    english = plugin.invoke("preview", {}, PROMPT, LATE, stream=True)
    assert notices(chinese.text)[0].startswith(
        "`timeout` 改成了 590 秒：Dify 最多等待这么久。耗时更长的任务，请把供应商设置中的“等待方式”（waiting）设为 polling。"
    )
    assert notices(english.text)[0].startswith("`timeout` became 590 seconds: Dify waits no longer.")
    assert chinese.text.startswith("<think>\n第 ")
    assert english.text.startswith("<think>\nstep ")


def test_a_polled_job_tells_its_notices_in_chinese(plugin: Host) -> None:
    form = {**CHINESE, "waiting": "polling"}
    done = plugin.run_polling(
        "preview", form, [user("a fox --sampler nowhere")], {"details": True, "simulate_seconds": 1}
    )
    assert done.status == "succeeded"
    assert notices(done.text) == ["已忽略 `--sampler nowhere`：preview 没有参数 sampler。"]


def test_the_state_of_a_job_stays_english(plugin: Host) -> None:
    begun = plugin.start_polling("preview", CHINESE, [user("a fox --sampler nowhere")], {"simulate_seconds": 2})
    assert "was ignored: preview has no parameter" in json.dumps(begun.plugin_state)


def test_a_failed_credential_check(plugin: Host) -> None:
    with FakeStability(key="another") as server:
        form: Form = {"stability_api_key": MARKER_KEY, "stability_base_url": server.url}
        with pytest.raises(PluginError) as chinese:
            plugin.validate_provider_credentials({**form, **CHINESE})
        with pytest.raises(PluginError) as english:
            plugin.validate_provider_credentials(form)
    assert chinese.value.message.startswith("Stability AI：检查 Stability AI 密钥失败：HTTP 401，")
    assert chinese.value.message.endswith(
        "。请检查供应商设置中的“Stability AI API 密钥”（stability_api_key）：请从 platform.stability.ai 的账户页重新复制密钥。"
    )
    assert english.value.message.startswith("Stability AI: Checking the Stability AI key failed: HTTP 401, ")
    assert MARKER_KEY not in chinese.value.message


def test_limits_that_cannot_be_read_are_told_in_the_chosen_language(plugin: Host) -> None:
    with pytest.raises(PluginError) as raised:
        plugin.validate_provider_credentials({"limits": "language zh, photos 5", "waiting": "now"})
    assert raised.value.message.splitlines()[0] == "供应商设置中的“等待方式”（waiting）只能选择 direct 或 polling。"
    assert raised.value.message.splitlines()[1].startswith(
        "供应商设置中的“限制”（limits）中的“photos 5”不是有效的限制。请写成这样的项：`images 4`"
    )


def test_a_customizable_models_form_follows_its_own_limits(plugin: Host) -> None:
    with pytest.raises(PluginError) as raised:
        plugin.validate_model_credentials("mine", {**CHINESE, "backend": "automatic1111"})
    assert raised.value.message == "mine 需要 AUTOMATIC1111 WebUI。请填写模型设置中的“接口地址”（base_url）。"
