"""The page in a headless browser: an image, two models beside each other, an error, Chinese, and no foreign request."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sandbox.playground.serve import ADDRESS
from tests.fakes import image_file
from tests.sandbox.conftest import PLUGIN

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_MISSING = [name for name in ("gradio", "playwright") if find_spec(name) is None] + ([] if _BROWSER else ["chromium"])

pytestmark = pytest.mark.skipif(
    bool(_MISSING), reason=f"needs {', '.join(_MISSING)}: uv sync --group playground --group browser"
)

_PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as a program of its own, as a user starts it."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "sandbox",
        "serve",
        "--no-browser",
        "--port",
        str(port),
        "--plugin-dir",
        str(PLUGIN),
    ]
    out = str(tmp_path_factory.mktemp("out"))
    with subprocess.Popen([*command, "--out", out], stdout=subprocess.PIPE, text=True) as program:  # noqa: S603 - our own program
        assert program.stdout is not None
        assert f"http://{ADDRESS}:{port}" in program.stdout.readline()
        yield f"http://{ADDRESS}:{port}"
        program.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an optional group

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page with its form; in the end, no request has gone anywhere else."""
    page = browser.new_page()
    page.set_default_timeout(_PATIENCE)
    foreign: list[str] = []

    def note(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            foreign.append(request.url)

    page.on("request", note)
    page.goto(address)
    page.wait_for_selector("#parameter-seed")
    yield page
    page.close()
    assert foreign == []


def choose(page: Any, model: str) -> None:
    page.click("#models input")
    page.get_by_role("option", name=model, exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)  # the form is made anew


def test_two_models_make_images_beside_each_other(page: Any) -> None:
    choose(page, "painter")
    page.fill("#prompt textarea", "a cat")
    page.click("#run")
    page.wait_for_selector('.card[data-state="done"] >> nth=1')
    assert page.locator(".card h3").all_inner_texts() == ["job", "painter"]
    assert page.locator(".card img").first.evaluate("image => image.complete && image.naturalWidth") == 8
    page.get_by_role("tab", name="History").click()
    page.locator("#gallery img").first.click()
    page.wait_for_function("document.querySelector('#settings').innerText.includes('a cat')")


def test_an_error_is_readable(page: Any) -> None:
    page.click("#run")
    page.wait_for_selector('#results [role="alert"]')
    assert page.inner_text('#results [role="alert"]') == "Write a prompt or give an image."


def test_the_page_is_used_with_the_keyboard_and_in_chinese(page: Any, address: str) -> None:
    page.goto(f"{address}/zh")
    page.wait_for_selector("#parameter-seed")
    page.focus("#prompt textarea")
    page.keyboard.type("一只猫")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector('.card[data-state="done"]')
    assert "耗时" in page.inner_text(".card")


def test_a_mask_is_painted_with_the_mouse(page: Any, tmp_path: Path) -> None:
    """The page sends a mask only where something is painted."""
    image = tmp_path / "photo.png"
    image.write_bytes(image_file(256, 256))
    page.fill("#prompt textarea", "a cat")
    page.click("#mask button >> nth=0")
    page.set_input_files("#editor input[type=file]", str(image))
    page.locator("#editor button[aria-label=Brush]").click()
    page.wait_for_timeout(1000)  # the canvas takes its size
    canvas = page.locator("#editor canvas").first.bounding_box()
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    page.mouse.move(x - 30, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=8)
    page.mouse.up()
    page.click("#run")
    page.wait_for_selector('.card[data-state="done"]')
    sent = page.locator(".card details").first.text_content()
    assert "image.png" in sent
    assert "mask.png" in sent


def test_files_outside_the_folder_are_not_served(page: Any, address: str) -> None:
    assert page.request.get(f"{address}/gradio_api/file={Path(__file__).parents[3] / 'pyproject.toml'}").status == 403
