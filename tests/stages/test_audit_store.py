"""The audit record in the owner's storage: the same record as the line, beside the requests, never in their way."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.backends.errors import BadRequest
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.stages import audit_store
from tests.fakes import MARKER_KEY, FakeClock

SMALL = {"width": 16, "height": 16}


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger = logging.getLogger("image_generation")
    caplog.set_level(logging.INFO, "image_generation")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def generate(clock: FakeClock, storage_url: str, prompt: str = "a red fox", **values: str) -> None:
    form = {"storage_url": storage_url, **values}
    Call.of("preview", form, "ann", clock).generate(Asked(Conversation(prompt), SMALL))


def the_line(caplog: pytest.LogCaptureFixture) -> object:
    (line,) = (text for record in caplog.records if (text := record.getMessage()).startswith("image_request "))
    return json.loads(line.removeprefix("image_request "))


def kept(folder: Path) -> list[Path]:
    audit_store._waiting.join()
    return sorted((folder / "audit").rglob("*.json"))


def test_the_record_of_a_success_equals_the_line(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    generate(clock, f"file://{tmp_path}", limits="audit text")
    (path,) = kept(tmp_path)
    record = json.loads(path.read_text("utf-8"))
    assert record == the_line(caplog)
    assert path.relative_to(tmp_path).as_posix() == f"audit/2026/09/21/{record['id']}.json"
    assert (record["prompt"], record["outcome"]) == ("a red fox", "succeeded")


def test_a_refusal_is_kept_and_no_key_is(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(BadRequest):
        generate(
            clock,
            f"file://{tmp_path}",
            f"a fox {MARKER_KEY}",
            limits="audit text",
            forbidden_words="fox",
            stability_api_key=MARKER_KEY,
        )
    (path,) = kept(tmp_path)
    assert json.loads(path.read_text("utf-8"))["outcome"] == "refused"
    assert MARKER_KEY not in path.read_text("utf-8")


def test_a_store_that_fails_is_logged(tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "audit").write_text("a file where the folder would be", encoding="utf-8")
    generate(clock, f"file://{tmp_path}")
    audit_store._waiting.join()
    assert "is not in the store: " in caplog.text


def test_too_many_waiting_records_are_logged(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_store, "_MOST", 0)
    generate(clock, f"file://{tmp_path}")
    assert kept(tmp_path) == []
    assert "is not in the store: 0 wait already" in caplog.text
