"""The messages of the WebSocket and the progress text."""

import pytest

from models.backends.comfyui.events import UNKNOWN, JobProgress, read_event
from models.backends.comfyui.jobs import queued


@pytest.mark.parametrize(
    ("place", "words"),
    [(1, "queued 1st"), (2, "queued 2nd"), (3, "queued 3rd"), (4, "queued 4th"), (11, "queued 11th"), (12, "queued 12th"), (21, "queued 21st"), (113, "queued 113th")],
)  # fmt: skip
def test_the_place_in_the_queue_is_an_ordinal(place: int, words: str) -> None:
    assert queued(place) == words


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"data": {}}', '{"type": "progress", "data": {"value": "x"}}'])
def test_a_message_of_unknown_shape_is_ignored(text: str) -> None:
    assert read_event(text) == UNKNOWN


def test_a_warning_that_looks_like_an_error_does_not_end_a_job() -> None:
    progress = JobProgress(["a"])
    progress.record(
        read_event('{"type": "execution_error", "data": {"prompt_id": "a", "exception_type": "ExecutionBlocked"}}')
    )
    assert not progress.over


def test_progress_of_several_runs_names_the_run() -> None:
    progress = JobProgress(["a", "b"])
    progress.record(read_event('{"type": "progress", "data": {"prompt_id": "b", "value": 3, "max": 20}}'))
    assert progress.words == "image 2 of 2, step 3/20"


def test_the_job_ends_with_all_runs_or_the_first_failure() -> None:
    progress = JobProgress(["a", "b"])
    end = '{"type": "executing", "data": {"prompt_id": "%s", "node": null}}'
    progress.record(read_event(end % "a"))
    assert not progress.over
    progress.record(read_event('{"type": "execution_interrupted", "data": {"prompt_id": "a"}}'))
    assert progress.over
