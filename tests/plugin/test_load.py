"""Many jobs of two tenants in one plugin process: a small form of `benchmarks.load`, without its bounds of time."""

import pytest

from benchmarks.load import LONGEST_HOLD, MOST_MIB, Beat, Outcome, load, wrong


def test_each_tenant_gets_its_own_images_by_its_own_key() -> None:
    outcome = load(jobs=18, hold=3.0, pace=0.0)
    assert outcome.findings == []
    assert sum(map(len, outcome.seconds.values())) == 18
    assert outcome.mib < MOST_MIB
    assert 0 < max(outcome.sockets.values()) <= 18


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"findings": ["the answer was made of []"]}, "the answer was made of []"),
        ({"in_flight": 5}, "only 5 jobs were in flight"),
        ({"mib": 300.0}, "300 MiB"),
        ({"beats": [Beat(1.0, 2 * LONGEST_HOLD, 2 * LONGEST_HOLD, 0.0)]}, "every greenlet was held up for 0.40 s"),
        ({"seconds": {"north": [9.0], "south": [1.0]}}, "one tenant waited longer"),
    ],
)
def test_the_benchmark_tells_each_promise_that_was_not_kept(change: dict[str, object], said: str) -> None:
    good = {"in_flight": 6, "mib": 100.0, "seconds": {"north": [1.0], "south": [1.0]}}
    outcome = Outcome(**{**good, **change})  # type: ignore[arg-type]
    outcome.sockets[80] = 4
    [found] = wrong(outcome, 6)
    assert found.startswith(said)
