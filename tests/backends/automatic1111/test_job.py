"""Questions to a WebUI beside its jobs: how many wait, and whether the last one was stopped."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
import responses
from gevent.event import Event

from models.backends.automatic1111 import job
from models.backends.automatic1111.job import TaskProgress, WebUIJobs, queue_of
from models.backends.base import Running
from models.backends.errors import ConnectionFailed
from models.backends.outage import Outage
from models.clock import Deadline
from tests.asking import bound
from tests.fakes import FakeClock

URL = "http://webui.internal:7860"


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def jobs(clock: FakeClock, told: list[Running] | None = None) -> WebUIJobs:
    service = bound("automatic1111", {"automatic1111_base_url": URL}, clock).service
    seen = told if told is not None else []
    return WebUIJobs(service, "Trying", seen.append, lambda seconds: Deadline.after(clock, seconds))


def progress(server: responses.RequestsMock, **state: Any) -> None:
    server.get(f"{URL}/sdapi/v1/progress", json={"state": state})


@pytest.mark.parametrize(
    ("state", "pending", "waiting"),
    [
        ({"job_count": 0}, {"size": 5}, 0),
        ({"job_count": 1}, {"size": 0}, 1),
        ({"job_count": -1}, {"size": 2}, 3),
        ({"job_count": 1}, None, 1),
    ],
)
def test_the_jobs_of_others_are_counted(
    server: responses.RequestsMock, clock: FakeClock, state: Any, pending: Any, waiting: int
) -> None:
    progress(server, **state)
    if pending:
        server.get(f"{URL}/internal/pending-tasks", json=pending)
    assert jobs(clock).waiting() == waiting


def test_a_job_of_this_process_is_not_counted(server: responses.RequestsMock, clock: FakeClock) -> None:
    progress(server, job_count=1)
    server.get(f"{URL}/internal/pending-tasks", json={"size": 2})
    with jobs(clock).turn(Deadline.after(clock, 5)):
        assert jobs(clock).waiting() == 2
    assert jobs(clock).waiting() == 3


def test_a_server_that_does_not_say_has_nothing_waiting(clock: FakeClock, server: responses.RequestsMock) -> None:
    server.get(f"{URL}/sdapi/v1/progress", status=500)
    assert jobs(clock).waiting() == 0
    assert jobs(clock).was_interrupted("1") is None


@pytest.mark.parametrize(
    ("state", "job", "stopped"),
    [
        ({"job_timestamp": "1", "interrupted": False}, "1", False),
        ({"job_timestamp": "1", "interrupted": True}, "1", True),
        ({"job_timestamp": "1", "skipped": True}, "1", True),
        ({"job_timestamp": "2", "interrupted": True}, "1", None),
        ({"interrupted": True}, None, None),
        ({"interrupted": True}, "1", None),
    ],
)
def test_only_the_job_of_that_time_was_stopped(
    server: responses.RequestsMock, clock: FakeClock, state: Any, job: str | None, stopped: bool | None
) -> None:
    progress(server, **state)
    assert jobs(clock).was_interrupted(job) is stopped


@pytest.mark.parametrize(
    ("reply", "checkpoint"),
    [
        ({"json": {"sd_model_checkpoint": "a [1]"}}, "a [1]"),
        ({"json": {}}, ""),
        ({"status": 404}, ""),
        ({"status": 405}, ""),
    ],
)
def test_the_settings_name_the_loaded_checkpoint(
    server: responses.RequestsMock, clock: FakeClock, reply: Any, checkpoint: str
) -> None:
    server.get(f"{URL}/sdapi/v1/options", **reply)
    assert jobs(clock).reachable_settings(Deadline.after(clock, 5)).checkpoint == checkpoint


def test_settings_that_cannot_be_read_are_none(server: responses.RequestsMock, clock: FakeClock) -> None:
    server.get(f"{URL}/sdapi/v1/options", body="<html>")
    assert jobs(clock).settings() is None
    assert len(server.calls) == 1


def test_a_question_is_asked_once_and_names_no_preview(server: responses.RequestsMock, clock: FakeClock) -> None:
    server.post(f"{URL}/internal/progress", json={"active": True, "progress": 0.5})
    asked = jobs(clock)._looked("task(1)", Deadline.after(clock, 5))
    assert asked is not None
    assert asked.words == "50 %"
    assert json.loads(server.calls[0].request.body or "") == {
        "id_task": "task(1)",
        "id_live_preview": -1,
        "live_preview": False,
    }
    assert jobs(clock)._looked("", Deadline.after(clock, 5)) is None


@pytest.mark.parametrize("reply", [{"status": 404}, {"body": "<html>"}, {"json": {"active": "?"}}])
def test_a_server_that_reports_no_job_is_no_failure(
    server: responses.RequestsMock, clock: FakeClock, reply: Any
) -> None:
    server.post(f"{URL}/internal/progress", **reply)
    assert jobs(clock)._poll("task(1)", Deadline.after(clock, 5)) is None


def test_a_server_that_is_off_is_told_by_a_look_alone(server: responses.RequestsMock, clock: FakeClock) -> None:
    with pytest.raises(ConnectionFailed):
        jobs(clock)._looked("task(1)", Deadline.after(clock, 5))
    assert jobs(clock)._poll("task(1)", Deadline.after(clock, 5)) is None


def test_a_turn_behind_another_one_is_told(clock: FakeClock) -> None:
    told: list[Running] = []
    with jobs(clock, told).turn(Deadline.after(clock, 5)):
        assert queue_of(f"{URL}/").busy
        assert told == []
        late = jobs(clock, told).turn(Deadline(clock, clock.now()))
        with pytest.raises(ConnectionFailed, match="it was still queued behind other images for this server"), late:
            pass
    assert told == [Running("queued behind other images")]


def test_a_followed_job_leaves_its_last_known_state(
    server: responses.RequestsMock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "FIRST_POLL", 0.0)
    server.post(f"{URL}/internal/progress", json={"active": True, "progress": 0.4})
    ended = Event()
    followed = replace(jobs(clock), on_progress=lambda state: ended.set())
    post = gevent.spawn(ended.wait)
    seen = followed._follow(post, "task(1)", Deadline.after(clock, 60), Outage(clock))
    assert seen == TaskProgress(active=True, progress=0.4)
