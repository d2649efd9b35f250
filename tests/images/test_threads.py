"""Work in another thread than the gevent hub."""

import threading
import time

import gevent
import pytest

from models.images import in_thread


def test_work_runs_in_another_thread_and_returns() -> None:
    assert in_thread(threading.get_native_id) != threading.get_native_id()
    assert in_thread(max, 3, 5) == 5


def test_an_error_in_the_thread_is_raised_without_a_traceback_print(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0)
    assert capfd.readouterr().err == ""


def test_at_most_two_images_are_processed_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    gevent.joinall([gevent.spawn(in_thread, work) for _ in range(8)], raise_error=True)
    assert most == 2
