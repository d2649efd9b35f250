"""The order in which requests reach one server."""

import gevent
import pytest

from models.backends.automatic1111.gate import STREAK, Gate, gate_of


def order(gate: Gate, checkpoints: list[str]) -> list[int]:
    """Who gets in, in order, when all come at once behind a full gate and each stays for a moment."""
    entered: list[int] = []

    def visit(number: int, checkpoint: str) -> None:
        assert gate.enter(checkpoint, timeout=5)
        entered.append(number)
        gate.leave()

    assert gate.enter("a", timeout=0)
    assert gate.closed
    visitors = [gevent.spawn(visit, number, checkpoint) for number, checkpoint in enumerate(checkpoints)]
    gevent.sleep(0)
    gate.leave()
    gevent.joinall(visitors, timeout=5)
    assert not gate.closed
    return entered


def test_first_come_first_served() -> None:
    assert order(Gate(), ["a"] * 5) == [0, 1, 2, 3, 4]


def test_requests_for_the_loaded_checkpoint_go_first() -> None:
    assert order(Gate(), ["b", "a", "b", "a", "b"]) == [1, 3, 0, 2, 4]


def test_others_do_not_wait_for_ever() -> None:
    entered = order(Gate(), ["b", *["a"] * 20])
    assert entered.index(0) == STREAK - 1


def test_who_waits_too_long_leaves_and_blocks_nobody() -> None:
    gate = Gate()
    assert gate.enter("a", timeout=0)
    assert not gate.enter("b", timeout=0.01)
    gate.leave()
    assert gate.enter("c", timeout=0)


@pytest.mark.parametrize("let_in", [True, False])
def test_who_is_killed_while_waiting_blocks_nobody(let_in: bool) -> None:
    gate = Gate()
    assert gate.enter("a", timeout=0)
    waiting = gevent.spawn(gate.enter, "b", timeout=5)
    gevent.sleep(0)
    waiting.kill(block=not let_in)
    gate.leave()  # with `let_in` its turn comes before it notices
    waiting.join()
    assert gate.enter("c", timeout=0)


def test_a_server_has_one_gate_while_somebody_uses_it() -> None:
    gate = gate_of("http://127.0.0.1:7860/")
    assert gate_of("http://127.0.0.1:7860") is gate
    assert gate_of("http://127.0.0.1:7861") is not gate
