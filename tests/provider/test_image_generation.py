"""The provider's check: every configured service is probed in parallel within ten seconds; errors name the field."""

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import gevent
import pytest
from dify_plugin.errors.model import CredentialsValidateFailedError

from models.backends import base
from models.backends.base import Backend
from models.backends.comfyui import ComfyUI
from models.backends.errors import AuthorizationFailed
from models.parameters import PROMPT_RULE, VOCABULARY
from provider import image_generation
from provider.image_generation import ImageGenerationProvider
from tests.fakes import MARKER_KEY
from tests.servers.comfyui import ComfyUIServer
from tests.stubs import StubBackend


class Stability(StubBackend):
    """A backend stub with the fields of a hosted service. `probed` collects the keys of the probes."""

    name, title, prefix = "stability", "Stability AI", "stability"
    required = ("api_key",)
    probed: ClassVar[list[str]] = []

    __init__ = Backend.__init__

    def check_access(self) -> Sequence[str]:
        self.probed.append(self.model.access.api_key)
        return ()


class Refusing(Stability):
    def check_access(self) -> Sequence[str]:
        raise AuthorizationFailed("Checking the key failed", f"{MARKER_KEY} is unknown", "Make a new key")


class Hung(Stability):
    name, title, prefix = "comfyui", "ComfyUI", "comfyui"
    required = ("base_url",)

    def check_access(self) -> Sequence[str]:
        gevent.sleep(60)
        return ()


class HungToo(Hung):
    name, title, prefix = "automatic1111", "the WebUI", "automatic1111"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Stability.probed.clear()
    for name in ("STABILITY_API_KEY", "COMFYUI_BASE_URL", "AUTOMATIC1111_BASE_URL", "LIMITS", "WAITING"):
        monkeypatch.delenv(f"IMAGE_GENERATION_{name}", raising=False)


def check(monkeypatch: pytest.MonkeyPatch, credentials: Mapping[str, str], *backends: type[Backend]) -> str:
    """The message of the check of a form; empty if it passes."""
    monkeypatch.setattr(image_generation, "BACKENDS", {backend.name: backend for backend in backends})
    try:
        ImageGenerationProvider.validate_provider_credentials(
            object.__new__(ImageGenerationProvider), dict(credentials)
        )
    except CredentialsValidateFailedError as refused:
        return str(refused)
    return ""


def test_the_provider_exposes_the_common_parameter_rules() -> None:
    assert (PROMPT_RULE, *VOCABULARY) == ImageGenerationProvider.IMAGE_GENERATION


@pytest.mark.parametrize("credentials", [{}, {"stability_api_key": "  "}, {"stability_base_url": "http://gateway"}])
def test_a_service_without_credentials_is_not_probed(
    monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str]
) -> None:
    assert check(monkeypatch, credentials, Stability) == ""
    assert Stability.probed == []


def test_an_empty_form_is_not_stored_empty_and_nothing_is_added_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dify returns no parameter rules for a provider whose stored credentials are empty."""
    monkeypatch.setattr(image_generation, "BACKENDS", {})
    for form, stored in (({}, {"form": "empty"}), ({"limits": ""}, {"limits": "", "form": "empty"})):
        ImageGenerationProvider.validate_provider_credentials(object.__new__(ImageGenerationProvider), form)
        assert form == stored
    filled = {"limits": "images 4"}
    ImageGenerationProvider.validate_provider_credentials(object.__new__(ImageGenerationProvider), filled)
    assert filled == {"limits": "images 4"}


def test_a_filled_service_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(monkeypatch, {"stability_api_key": "sk-1"}, Stability) == ""
    assert Stability.probed == ["sk-1"]


def test_every_address_of_a_list_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    with ComfyUIServer() as good, ComfyUIServer() as gone:
        addresses = {"comfyui_base_url": f"{good.url}, {gone.url}"}
        assert check(monkeypatch, addresses, ComfyUI) == ""
        assert [server.count("GET /system_stats") for server in (good, gone)] == [1, 1]
        gone.stop()
        said = check(monkeypatch, addresses, ComfyUI)
        assert said.startswith("ComfyUI: 1 of the 2 addresses in “ComfyUI base URL” (comfyui_base_url)")
        assert f"127.0.0.1:{gone.port}: Checking ComfyUI failed" in said
        gone.start()


def test_a_service_configured_by_the_environment_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_GENERATION_STABILITY_API_KEY", "sk-env")
    assert check(monkeypatch, {}, Stability) == ""
    assert Stability.probed == ["sk-env"]


def test_every_failure_is_reported_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = {"stability_api_key": MARKER_KEY, "limits": "images 0"}
    said = check(monkeypatch, credentials, Refusing).splitlines()
    assert said == [
        "“images 0” in “Limits” (limits) in the provider's settings cannot be read. "
        "Write a whole number above 0, like `images 4`.",
        "Stability AI: Checking the key failed: [hidden] is unknown. Make a new key.",
    ]


def test_an_unknown_value_of_waiting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_GENERATION_WAITING", "poll")
    said = check(monkeypatch, {})
    assert said == "Only direct and polling can be chosen in the environment variable IMAGE_GENERATION_WAITING."
    assert check(monkeypatch, {"waiting": "polling"}) == ""


def test_a_required_field_is_named_by_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    said = check(monkeypatch, {"comfyui_api_key": "k"}, Hung)
    assert said.startswith("ComfyUI: comfyui-")
    assert said.endswith("needs ComfyUI. Fill “ComfyUI base URL” (comfyui_base_url) in the provider's settings.")


def test_two_hanging_servers_time_out_in_parallel_and_name_their_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    assert base.PROBE_SECONDS < 10
    monkeypatch.setattr(base, "PROBE_SECONDS", 0.2)
    credentials = {"comfyui_base_url": "http://gpu", "automatic1111_base_url": "http://gpu"}
    started = time.monotonic()
    said = check(monkeypatch, credentials, Hung, HungToo).splitlines()
    assert time.monotonic() - started < 1
    assert said == [
        "ComfyUI: Checking ComfyUI failed: it did not reply within 0.2 seconds. Check that it is running at the "
        "address in “ComfyUI base URL” (comfyui_base_url) in the provider's settings, and try again.",
        "The WebUI: Checking the WebUI failed: it did not reply within 0.2 seconds. Check that it is running at the "
        "address in “AUTOMATIC1111 WebUI base URL” (automatic1111_base_url) in the provider's settings, and try again.",
    ]
