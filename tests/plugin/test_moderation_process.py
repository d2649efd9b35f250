"""Moderation through the plugin process: what is refused costs nothing at the service or is never delivered."""

from collections.abc import Iterator

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import image_part, user
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY, image_file
from tests.servers.moderation import FakeModeration
from tests.servers.stability import FakeStability

MODERATION_KEY = f"{MARKER_KEY}-moderation"


def green(width: int, height: int, *_: object) -> bytes:
    return image_file(width, height, colour=(0, 255, 0))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host(plugin_dir=ROOT) as host:
        yield host


@pytest.fixture
def stability() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY) as server:
        yield server


@pytest.fixture
def moderation() -> Iterator[FakeModeration]:
    with FakeModeration(key=MODERATION_KEY) as server:
        yield server


def form(stability: FakeStability, moderation: FakeModeration, **fields: str) -> dict[str, JsonValue]:
    return {
        "stability_api_key": MARKER_KEY,
        "stability_base_url": stability.url,
        "moderation_url": moderation.url,
        "moderation_api_key": MODERATION_KEY,
        **fields,
    }


def test_a_refused_prompt_or_input_image_costs_nothing(
    host: Host, stability: FakeStability, moderation: FakeModeration
) -> None:
    credentials = form(stability, moderation)
    photo = image_part(image_file(800, 800, colour=(0, 255, 0)), filename="photo.png")
    with pytest.raises(PluginError, match=r"^The prompt was refused by moderation: category violence"):
        host.invoke("sd3.5-medium", credentials, [user("much gore")], {})
    with pytest.raises(PluginError, match=r"^The input image was refused by moderation: category sexual"):
        host.invoke("sd3.5-medium", credentials, [user(photo, "turn it")], {}, stream=True)
    assert host.run_polling("sd3.5-medium", credentials, [user("much gore")], {}).status == "failed"
    assert stability.requests == []


@pytest.mark.parametrize("way", ["call", "stream", "poll"])
def test_a_refused_result_is_never_delivered(
    host: Host, stability: FakeStability, moderation: FakeModeration, way: str
) -> None:
    stability.draw = green
    credentials, messages = form(stability, moderation), [user("a meadow")]
    if way == "poll":
        polled = host.run_polling("sd3.5-medium", credentials, messages, {})
        said, images = str(polled.error), polled.images
    else:
        with pytest.raises(PluginError) as refused:
            host.invoke("sd3.5-medium", credentials, messages, {}, stream=way == "stream")
        said, images = refused.value.message, ()
    assert said.startswith("The image was refused by moderation: category sexual.")
    assert images == ()
    lines = [line for line in host.process(0).log_messages if "image_request" in line]
    assert '"outcome": "failed"' in lines[-1]
    assert '"price": "0.035"' in lines[-1]


def test_a_polled_result_is_checked_at_its_end(
    host: Host, stability: FakeStability, moderation: FakeModeration
) -> None:
    credentials = form(stability, moderation, waiting="polling")
    polled = host.run_polling("preview", credentials, [user("a fox")], {"simulate_seconds": 1})
    assert polled.status == "succeeded"
    assert [type(asked) for asked in moderation.inputs] == [str, list]


def test_the_forms_check_asks_the_endpoint(host: Host, stability: FakeStability, moderation: FakeModeration) -> None:
    host.validate_provider_credentials(form(stability, moderation))
    with pytest.raises(PluginError, match="Incorrect API key"):
        host.validate_provider_credentials(form(stability, moderation, moderation_api_key="wrong-key-0123456789"))
    with pytest.raises(PluginError, match="`on_error=maybe`"):
        host.validate_provider_credentials(form(stability, moderation, moderation_url="http://h/v1?on_error=maybe"))


def test_no_key_is_seen_in_the_log(host: Host) -> None:
    assert MARKER_KEY not in str(host.process(0).log_messages)
