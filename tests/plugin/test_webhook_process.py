"""The webhook through the plugin process: one event for each outcome in every mode, and no key in any of them."""

import time
from collections.abc import Iterator

import pytest
from pydantic import JsonValue
from standardwebhooks import Webhook

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user
from tests.fakes import MARKER_KEY
from tests.servers.scripted import Script, scripted_server
from tests.servers.stability import FakeStability

SECRET = "whsec_c2stTUFSS0VSLTdmM2E5YzUxZDJlODRiMDY="  # the base64 of the marker key


@pytest.fixture
def receiver() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def stability() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY) as server:
        yield server


def events(receiver: Script, count: int) -> list[tuple[str, str, str | None]]:
    """Type, outcome and error class of the verified events, in order of arrival; they come beside the answers."""
    deadline = time.monotonic() + 20
    while len(receiver.seen) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    found = [Webhook(SECRET).verify(seen.body, dict(seen.headers)) for seen in receiver.seen]
    return [(event["type"], event["data"]["outcome"], event["data"]["error_class"]) for event in found]


def test_every_outcome_is_told_once_and_without_a_key(plugin: Host, receiver: Script, stability: FakeStability) -> None:
    form: dict[str, JsonValue] = {
        "stability_api_key": MARKER_KEY,
        "stability_base_url": stability.url,
        "webhook_url": f"{receiver.url}/hook",
        "webhook_secret": SECRET,
        "limits": "images 2, audit text",
    }
    plugin.validate_provider_credentials(form)
    assert receiver.seen == []
    prompt = [user(f"a fox and {MARKER_KEY}")]
    plugin.invoke("sd3.5-medium", form, prompt, {})
    assert events(receiver, 1)[-1] == ("image.succeeded", "succeeded", None)
    polled = plugin.run_polling("preview", {**form, "waiting": "polling"}, prompt, {"simulate_seconds": 1})
    assert polled.status == "succeeded"
    assert events(receiver, 2)[-1] == ("image.succeeded", "succeeded", None)
    with pytest.raises(PluginError):
        plugin.invoke("preview", form, prompt, {"n": 3}, stream=True)
    assert events(receiver, 3)[-1] == ("image.failed", "refused", "InvokeBadRequestError")
    stability.fail_next("content_moderation")
    with pytest.raises(PluginError):
        plugin.invoke("sd3.5-medium", form, prompt, {})
    assert events(receiver, 4)[-1] == ("image.failed", "failed", "InvokeBadRequestError")
    assert len(receiver.seen) == 4
    seen = str([(one.body, one.headers) for one in receiver.seen])
    logs = str([plugin.process(number).log_messages for number in range(2)])
    assert MARKER_KEY not in seen + logs
    assert SECRET.removeprefix("whsec_") not in seen + logs
    assert "a fox and [hidden]" in seen


def test_saving_the_form_names_a_missing_secret(plugin: Host) -> None:
    with pytest.raises(PluginError, match=r"The webhook has no secret\. .*“Webhook secret” \(webhook_secret\)"):
        plugin.validate_provider_credentials({"webhook_url": "https://host/hook"})
