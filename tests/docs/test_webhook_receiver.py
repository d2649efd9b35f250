"""The example docs/webhook_receiver.py accepts the plugin's events and no others."""

import base64
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from models.backends.errors import logger
from models.clock import SystemClock
from models.settings import Settings
from models.stages import webhook
from models.stages.audit import Receipt
from models.stages.webhook import WebhookSender

SCRIPT = Path(__file__).parents[2] / "docs" / "webhook_receiver.py"
SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef0123456789abcdef').decode()}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("webhook_receiver", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def url(script: ModuleType) -> Iterator[str]:
    server = script.server(0, SECRET)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()


def send(url: str, secret: str = SECRET) -> None:
    sender = WebhookSender.read(Settings({"webhook_url": url, "webhook_secret": secret}, {}))
    receipt = Receipt(id="r1", time=SystemClock().now(), user="ann", model="preview", backend="preview")
    sender(receipt.failed(TimeoutError(), receipt.time + 1, handed_over=True))
    webhook._waiting.join()


def test_an_event_of_the_plugin_is_accepted_and_printed(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    send(url)
    assert "image.failed r1 ann preview TimeoutError\n" in capfd.readouterr().out


def test_an_event_signed_with_another_secret_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "DELAYS", ())
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    send(url, f"whsec_{base64.b64encode(b'x' * 32).decode()}")
    assert "was lost: the receiver replied with HTTP 401" in caplog.text
    assert "image.failed r1 ann" not in capfd.readouterr().out


@pytest.mark.parametrize("headers", [{}, {"webhook-id": "a", "webhook-timestamp": "b", "webhook-signature": "c"}])
def test_a_request_that_is_no_event_is_refused(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPError, match="401"):
        urlopen(Request(url, b"{}", headers), timeout=10)  # noqa: S310
