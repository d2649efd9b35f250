"""The server's JSON, including the formats of unusual versions."""

from models.backends.comfyui.client import Queue, Refused, RunStatus


def test_empty_objects_may_come_as_a_list() -> None:
    refused = Refused.model_validate(
        {"error": {"type": "no_prompt", "message": "No prompt", "extra_info": []}, "node_errors": []}
    )
    assert refused.node_errors == {}


def test_a_blocked_branch_is_not_a_failure() -> None:
    status = RunStatus(status_str="success", messages=(("execution_error", {}), ("execution_success", {})))
    assert status.last == "execution_success"


def test_ties_in_the_queue_are_ordered_as_on_the_server() -> None:
    queue = Queue.model_validate({"queue_running": [], "queue_pending": [[1, "b", {}], [1, "a", {}], [-5, "z", {}]]})
    assert [queue.place(name) for name in "zab"] == [1, 2, 3]
