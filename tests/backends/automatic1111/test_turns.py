"""The order of queued requests to one server."""

import gevent
import pytest

from models.backends.automatic1111.job import MAX_STREAK, TurnQueue, queue_of


def order(queue: TurnQueue, checkpoints: list[str]) -> list[int]:
    """The order in which simultaneous requests leave a busy queue."""
    entered: list[int] = []

    def visit(number: int, checkpoint: str) -> None:
        assert queue.enter(checkpoint, timeout=5)
        entered.append(number)
        queue.leave()

    assert queue.enter("a", timeout=0)
    assert queue.busy
    visitors = [gevent.spawn(visit, number, checkpoint) for number, checkpoint in enumerate(checkpoints)]
    gevent.sleep(0)
    queue.leave()
    gevent.joinall(visitors, timeout=5)
    assert not queue.busy
    return entered


def test_first_come_first_served() -> None:
    assert order(TurnQueue(), ["a"] * 5) == [0, 1, 2, 3, 4]


def test_requests_for_the_loaded_checkpoint_go_first() -> None:
    assert order(TurnQueue(), ["b", "a", "b", "a", "b"]) == [1, 3, 0, 2, 4]


def test_other_checkpoints_run_after_eight_requests() -> None:
    entered = order(TurnQueue(), ["b", *["a"] * 20])
    assert entered.index(0) == MAX_STREAK - 1


def test_a_request_that_times_out_in_the_queue_does_not_block_others() -> None:
    queue = TurnQueue()
    assert queue.enter("a", timeout=0)
    assert not queue.enter("b", timeout=0.01)
    queue.leave()
    assert queue.enter("c", timeout=0)


@pytest.mark.parametrize("let_in", [True, False])
def test_a_request_killed_in_the_queue_does_not_block_others(let_in: bool) -> None:
    queue = TurnQueue()
    assert queue.enter("a", timeout=0)
    waiting = gevent.spawn(queue.enter, "b", timeout=5)
    gevent.sleep(0)
    waiting.kill(block=not let_in)
    queue.leave()  # with `let_in` its turn comes before it notices
    waiting.join()
    assert queue.enter("c", timeout=0)


def test_a_server_has_one_queue_while_it_is_in_use() -> None:
    queue = queue_of("http://127.0.0.1:7860/")
    assert queue_of("http://127.0.0.1:7860") is queue
    assert queue_of("http://127.0.0.1:7861") is not queue
