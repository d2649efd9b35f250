"""Runs, receipts, history, credentials and the raw exchange behind the page."""

import io
import json
import time
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from sandbox import Host
from sandbox.credentials import Credentials
from sandbox.package import read_package
from sandbox.parameters import Schema
from sandbox.playground.cards import cards
from sandbox.playground.credentials import CredentialStore
from sandbox.playground.exchange import blackened, masked, shown
from sandbox.playground.history import History
from sandbox.playground.jobs import InputImage, Job, Receipt, priced, receipts
from sandbox.playground.masks import drawn
from sandbox.playground.session import PageError, Playground
from sandbox.playground.texts import text
from tests.sandbox.conftest import PLUGIN

KEY = 'sk-marker"key'


@pytest.fixture
def playground(host: Host, tmp_path: Path) -> Playground:
    package = read_package(PLUGIN)
    store = CredentialStore(package.form, Credentials(), tmp_path / "credentials.json")
    folder = tmp_path / "made"
    folder.mkdir()
    return Playground(host, package, store, History(folder), sleep=lambda _: time.sleep(0.01))


def last(playground: Playground, *models: str, prompt: str = "a cat", **values: object) -> str:
    *_, end = playground.generate(models, prompt, values, [], "en")  # type: ignore[arg-type]
    return end


def test_two_models_run_beside_each_other_and_are_remembered(playground: Playground) -> None:
    end = last(playground, "painter", "painter", prompt="a {red|blue} cat")
    assert end.count('data-state="done"') == 4
    entries = playground.history.entries()
    assert sorted(entry.prompt for entry in entries) == ["a blue cat"] * 2 + ["a red cat"] * 2
    data = (playground.history.folder / entries[0].file).read_bytes()
    assert playground.history.of_image(data) is not None
    assert playground.history.of_image(b"another image") is None


def test_an_error_is_shown_and_not_remembered(playground: Playground) -> None:
    end = last(playground, "painter", prompt="<b>rude</b>", act="refuse")
    message = end.partition('role="alert">')[2].partition("</p>")[0]
    assert message.endswith("&lt;b&gt;rude&lt;/b&gt;")
    assert playground.history.entries() == []


@pytest.mark.parametrize(
    ("models", "prompt", "complaint"),
    [((), "a cat", "no_model"), (("painter",), " ", "no_prompt")],
)
def test_nothing_to_run_is_said(playground: Playground, models: tuple[str, ...], prompt: str, complaint: str) -> None:
    with pytest.raises(PageError, match=text(complaint, "en")):
        last(playground, *models, prompt=prompt)


def test_a_grid_has_a_limit(playground: Playground) -> None:
    with pytest.raises(PageError, match="100 calls; at most 24"):
        last(playground, "painter", prompt="{1|2|3|4|5|6|7|8|9|10}{1|2|3|4|5|6|7|8|9|10}")


def test_a_receipt_has_the_facts_of_each_image() -> None:
    details = {
        "model": "auto",
        "answered_by": "preview",
        "images": [{"width": 64, "height": 32}, {"width": 32, "height": 64}],
    }
    assert receipts("auto", details, ["7", "8"], "0.04 USD", 1.234, 2) == [
        Receipt(model="auto → preview", seed="7", size="64x32", price="0.04 USD", seconds=1.23),
        Receipt(model="auto → preview", seed="8", size="32x64", price="0.04 USD", seconds=1.23),
    ]
    assert receipts("m", {}, [], "", 1, 1) == [Receipt(model="m", seed="", size="", price="", seconds=1)]


def test_a_price_has_no_trailing_zeros() -> None:
    assert priced(Decimal("0.0400"), "USD") == "0.04 USD"


def test_the_raw_exchange_has_no_secret_and_no_image_data() -> None:
    document = {"credentials": {"key": KEY}, "image": "A" * 5000}
    exchange = shown(document, [KEY])  # type: ignore[arg-type]
    assert "marker" not in exchange
    assert "(5000 characters)" in exchange
    assert blackened(f"wrong key {KEY}", [KEY]) == "wrong key ████"
    assert masked({"a_key": KEY, "url": "x"}, ["a_key"]) == {"a_key": "████", "url": "x"}


def test_an_error_that_quotes_a_key_is_blacked_out_on_the_page() -> None:
    job = Job(Schema(model="m"), "a cat", {}, state="failed", error=f"the service refused {KEY}")
    assert "marker" not in cards([job], "en", [KEY])


def test_credentials_stay_in_memory_until_they_are_saved(playground: Playground) -> None:
    store = playground.credentials
    store.use({"api_key": KEY, "other": ""})
    assert (store.of("painter")["api_key"], store.secrets, store.file.exists()) == (KEY, [KEY], False)
    store.save()
    assert json.loads(store.file.read_text("utf-8")) == {"api_key": KEY}
    assert store.file.stat().st_mode & 0o077 == 0
    store.forget()
    assert store.secrets == []


def test_a_drawing_becomes_an_image_and_its_mask() -> None:
    background, layer = Image.new("RGBA", (8, 4), "red"), Image.new("RGBA", (8, 4))
    assert [image.name for image in drawn({"background": background, "layers": [layer]})] == ["image.png"]
    layer.putpixel((2, 1), (255, 255, 255, 90))
    image, mask = drawn({"background": background, "layers": [layer]})
    assert isinstance(image, InputImage)
    opened = Image.open(io.BytesIO(mask.data))
    assert (mask.name, opened.mode, opened.getbbox(), opened.getpixel((2, 1))) == ("mask.png", "L", (2, 1, 3, 2), 255)
    assert drawn({"background": None, "layers": []}) == []
    assert drawn(None) == []
