"""The SQLite file: bounded, the least recently used entries go first, right over several processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from models.settings import Settings
from models.stages.cache import local
from models.stages.cache.fault import CacheFaultError
from models.stages.cache.leases import Leases, leases_of
from models.stages.cache.local import LocalState
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.redis_server import redis_server
from tests.servers.scripted import free_port


@pytest.fixture
def state(tmp_path: Path, clock: FakeClock) -> LocalState:
    return LocalState(tmp_path / "new" / "cache.sqlite3", clock, most_bytes=1000)


def test_an_entry_lives_for_its_seconds(state: LocalState, clock: FakeClock) -> None:
    state.put("a", b"1", 60)
    assert (state.get("a"), state.get("b")) == (b"1", None)
    clock.time += 61
    assert state.get("a") is None


def test_the_least_recently_used_entries_go_first(state: LocalState, clock: FakeClock) -> None:
    for name in ("a", "b", "c"):
        state.put(name, bytes(300), 10_000)
        clock.time += 100
    assert state.get("a")
    clock.time += 100
    state.put("d", bytes(300), 10_000)
    assert [name for name in "abcd" if state.get(name)] == ["a", "c", "d"]
    state.put("e", bytes(990), 10_000)
    assert [name for name in "abcde" if state.get(name)] == ["e"]


def test_a_file_that_is_larger_than_the_limit_is_not_kept(state: LocalState) -> None:
    state.put("a", bytes(300), 60)
    state.put("b", bytes(1001), 60)
    assert (bool(state.get("a")), state.get("b")) == (True, None)


def test_processes_share_the_file(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "cache.sqlite3"
    script = (
        "import sys, dify_plugin; from pathlib import Path; from models.clock import SystemClock;"
        "from models.stages.cache.local import LocalState; state = LocalState(Path(sys.argv[1]), SystemClock());"
        "[state.put(f'{sys.argv[2]}-{n}', b'x' * 1000, 60) for n in range(10)]; print(state.take('one', sys.argv[2], 60))"
    )
    command = [sys.executable, "-c", script, str(path)]
    started = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for number in range(2)
    ]
    holders = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(holders) == 1
    state = LocalState(path, clock)
    clock.time = 0
    assert all(state.get(f"{number}-{n}") == b"x" * 1000 for number in range(2) for n in range(10))


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheFaultError, match="cannot be used") as failed:
        LocalState(tmp_path / "file" / "cache.sqlite3", clock).get("a")
    assert "IMAGE_GENERATION_STATE_DIR" in failed.value.notice
    (tmp_path / "broken.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(CacheFaultError, match="cannot be used"):
        LocalState(tmp_path / "broken.sqlite3", clock).get("a")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server(password=MARKER_KEY) as url:
        yield url


@pytest.fixture(params=["file", "redis"])
def leases(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Leases:
    form = {"redis_url": request.getfixturevalue("redis_url")} if request.param == "redis" else {}
    return leases_of(Settings(form, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path)}), clock)


def test_a_lease_has_one_holder(leases: Leases) -> None:
    assert leases.is_free("holder")
    assert leases.take("holder", "me", 60) == "me"
    assert leases.take("holder", "you", 60) == "me"
    assert leases.take("holder", "me", 60) == "me"
    assert not leases.is_free("holder")
    leases.drop("holder", "you")
    assert not leases.is_free("holder")
    leases.drop("holder", "me")
    assert leases.is_free("holder")
    assert leases.take("holder", "you", 60) == "you"


def test_a_lease_that_nobody_renews_ends(leases: Leases, clock: FakeClock) -> None:
    leases.take("ending", "me", 0.05)
    clock.time += 1
    for _ in range(100):
        if leases.is_free("ending"):
            break
        gevent.sleep(0.01)
    assert leases.take("ending", "you", 60) == "you"


def test_redis_that_is_down_is_told_without_its_password(clock: FakeClock) -> None:
    form = {"redis_url": f"redis://:{MARKER_KEY}@127.0.0.1:{free_port()}/0"}
    with pytest.raises(CacheFaultError) as failed:
        leases_of(Settings(form, {}), clock).take("a", "me", 60)
    assert MARKER_KEY not in failed.value.notice
    assert "(redis_url)" in failed.value.notice


def test_the_limits_of_the_file(state: LocalState, clock: FakeClock, tmp_path: Path) -> None:
    assert LocalState(tmp_path, clock).most_bytes == local.MOST_BYTES == 512_000_000
    assert (local._LARGEST, local._BUSY) == (64_000_000, 10)
    state.put("a", bytes(1000), 60)
    assert state.get("a") == bytes(1000)
    state.put("b", b"", 60)
    assert (state.get("a"), state.get("b")) == (bytes(1000), b"")


def test_an_entry_ends_with_its_last_second(state: LocalState, clock: FakeClock) -> None:
    state.put("a", b"1", 60)
    clock.time += 59.5
    assert state.get("a") == b"1"
    clock.time += 0.5
    assert state.get("a") is None


@pytest.mark.parametrize(("after", "first"), [(60.0, "b"), (60.5, "a")])
def test_a_second_use_is_written_down_after_a_minute(
    state: LocalState, clock: FakeClock, after: float, first: str
) -> None:
    state.put("a", bytes(400), 10_000)
    clock.time += after - 1
    state.put("b", bytes(400), 10_000)
    clock.time += 1
    state.get("a")
    clock.time += 1
    state.put("c", bytes(400), 10_000)
    assert [name for name in "abc" if state.get(name)] == [first, "c"]


def test_a_lease_is_taken_renewed_and_dropped_by_its_holder(state: LocalState, clock: FakeClock) -> None:
    assert state.is_free("one")
    assert [state.take("one", holder, 10) for holder in ("ann", "bob", "ann")] == ["ann", "ann", "ann"]
    clock.time += 10
    assert (state.is_free("one"), state.take("one", "bob", 10)) == (False, "ann")
    clock.time += 0.5
    assert (state.is_free("one"), state.take("one", "bob", 10)) == (True, "bob")
    state.drop("one", "ann")
    assert not state.is_free("one")
    state.drop("one", "bob")
    assert state.is_free("one")
