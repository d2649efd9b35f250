"""The server's JSON, also in the shapes of odd versions."""

from models.backends.comfyui.client import Queue, Refused, RunStatus


def test_what_is_empty_may_come_as_a_list() -> None:
    refused = Refused.model_validate(
        {"error": {"type": "no_prompt", "message": "No prompt", "extra_info": []}, "node_errors": []}
    )
    assert refused.node_errors == {}


def test_a_blocked_branch_that_was_reported_before_the_end_is_no_failure() -> None:
    status = RunStatus(status_str="success", messages=(("execution_error", {}), ("execution_success", {})))
    assert status.last == "execution_success"


def test_ties_in_the_queue_are_broken_like_the_server_does() -> None:
    queue = Queue.model_validate({"queue_running": [], "queue_pending": [[1, "b", {}], [1, "a", {}], [-5, "z", {}]]})
    assert [queue.place(name) for name in "zab"] == [1, 2, 3]
