"""The example docs/edit_image_api.py with a small fake of Dify's API."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes import image_file
from tests.servers.dify_api import KEY, FakeDify

SCRIPT = Path(__file__).parents[2] / "docs" / "edit_image_api.py"
OUTPUTS = {"image_url": "", "stored_url": "", "width": 1248, "height": 832, "seed": 42, "notices": ["a notice"]}
RUN = "/v1/workflows/run"
UPLOAD = "/v1/files/upload"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edit_image_api", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["edit_image_api"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dify() -> Iterator[FakeDify]:
    server = FakeDify(OUTPUTS)
    server.outputs["image_url"] = f"{server.origin}/results/1.png?Signature=a%2Bb"
    server.images["/results/1.png?Signature=a%2Bb"] = image_file()
    with server.run():
        yield server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(image_file(kind="JPEG"))
    return path


def api(script: ModuleType, dify: FakeDify, key: str = KEY) -> Any:
    return script.EditImageApi(key, dify.url, pause=0.0, longest=5.0)


def test_an_edit_uploads_runs_and_returns_the_address(script: ModuleType, dify: FakeDify, photo: Path) -> None:
    image = api(script, dify).edit(photo, "把T恤改成蓝色")
    assert (image.image_url, image.width, image.height, image.seed) == (dify.outputs["image_url"], 1248, 832, 42)
    assert image.notices == ("a notice",)
    assert list(dify.uploads.values()) == [photo.read_bytes()]
    assert dify.inputs["instruction"] == "把T恤改成蓝色"
    assert script.download(image, pause=0.0) == image_file()


@pytest.mark.parametrize("trouble", [[429], [503, 503], [500], [0]])
def test_an_upload_is_retried(script: ModuleType, dify: FakeDify, photo: Path, trouble: list[int]) -> None:
    dify.busy[UPLOAD] = list(trouble)
    assert api(script, dify).edit(photo, "x").image_url
    assert dify.asked(UPLOAD) == len(trouble) + 1


@pytest.mark.parametrize("trouble", [[429], [503, 429]])
def test_a_run_is_retried_while_the_service_is_too_busy(
    script: ModuleType, dify: FakeDify, photo: Path, trouble: list[int]
) -> None:
    dify.busy[RUN] = list(trouble)
    assert api(script, dify).edit(photo, "x").image_url
    assert dify.asked(RUN) == len(trouble) + 1


@pytest.mark.parametrize("trouble", [500, 0])
def test_a_run_that_may_have_started_is_not_retried(
    script: ModuleType, dify: FakeDify, photo: Path, trouble: int
) -> None:
    """0 is a connection that closes without a reply."""
    dify.busy[RUN] = [trouble]
    with pytest.raises(script.EditError):
        api(script, dify).edit(photo, "x")
    assert dify.asked(RUN) == 1


@pytest.mark.parametrize("after", [1, 3])
def test_a_lost_stream_is_resumed_by_the_run_id(script: ModuleType, dify: FakeDify, photo: Path, after: int) -> None:
    dify.lose_stream_after = after
    dify.looks_until_done = 2
    assert api(script, dify).edit(photo, "x").seed == 42
    assert (dify.asked(RUN), dify.asked(f"{RUN}/run-1")) == (1, 2)


def test_a_stream_lost_before_the_run_began_is_an_error(script: ModuleType, dify: FakeDify, photo: Path) -> None:
    dify.lose_stream_after = 0
    with pytest.raises(script.EditError):
        api(script, dify).edit(photo, "x")
    assert dify.asked(RUN) == 1


def test_a_failed_run_shows_the_plugins_message(script: ModuleType, dify: FakeDify, photo: Path) -> None:
    dify.error = "Generating with Model Studio failed: blocked (DataInspectionFailed)."
    with pytest.raises(script.EditError, match="DataInspectionFailed"):
        api(script, dify).edit(photo, "x")


def test_a_wrong_key_is_reported(script: ModuleType, dify: FakeDify, photo: Path) -> None:
    with pytest.raises(script.EditError, match="HTTP 401: Access token is invalid"):
        api(script, dify, key="app-wrong").edit(photo, "x")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"GIF89a", "is not a PNG, JPEG or WebP"), (b"\xff\xd8\xff" + bytes(10_000_001), "has 10.0 MB; at most 10 MB")],
)
def test_a_file_that_would_be_refused_is_not_sent(
    script: ModuleType, dify: FakeDify, tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    with pytest.raises(script.EditError, match=words):
        api(script, dify).edit(path, "x")
    assert dify.requests == []


def test_a_missing_file_is_reported(script: ModuleType, dify: FakeDify, tmp_path: Path) -> None:
    with pytest.raises(script.EditError, match=r"nowhere\.jpg cannot be read: No such file"):
        api(script, dify).edit(tmp_path / "nowhere.jpg", "x")


@pytest.mark.parametrize(("key", "arguments"), [(KEY, ["photo.jpg"]), ("", ["photo.jpg", "make it blue", "out.png"])])
def test_the_command_line_prints_its_usage(
    script: ModuleType,
    key: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DIFY_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("DIFY_API_KEY", key)
    monkeypatch.setattr(sys, "argv", ["edit_image_api.py", *arguments])
    assert script.main() == 2
    assert "export DIFY_API_KEY" in capsys.readouterr().err


def test_the_command_line_writes_the_file(
    script: ModuleType,
    dify: FakeDify,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DIFY_API_KEY", KEY)
    monkeypatch.setenv("DIFY_BASE_URL", dify.url)
    target = tmp_path / "edited.png"
    monkeypatch.setattr(sys, "argv", ["edit_image_api.py", str(photo), "make it blue", str(target)])
    assert script.main() == 0
    assert target.read_bytes() == image_file()
    assert "1248×832, seed 42" in capsys.readouterr().out
