"""The parameter `priority`: the front of ComfyUI's queue."""

import pytest

from models.backends.comfyui.state import JobState
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from tests.asking import bound
from tests.backends.comfyui.jobs import Graph, backend_for, invoked, slow, submitted
from tests.servers.comfyui import ComfyUIServer, wait_until


def seeded(seed: int) -> Graph:
    graph = slow()
    graph["2"]["inputs"]["seed"] = seed
    return graph


def test_high_runs_before_all_that_wait(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    jobs = [submitted(backend_for(server, seeded(number))) for number in range(3)]
    wait_until(lambda: server.engine.running)
    urgent = submitted(backend_for(server, seeded(9)), extra={"priority": "high"})
    server.engine.gate.set()
    wait_until(lambda: len(server.engine.executed) == 4)
    first, *waited = (JobState.load(job).ids[0] for job in jobs)
    assert server.engine.executed == [first, JobState.load(urgent).ids[0], *waited]


def test_a_job_that_was_lost_goes_to_the_front_again(server: ComfyUIServer) -> None:
    server.engine.gate.clear()
    job = submitted(backend_for(server, slow()), extra={"priority": "high"})
    assert JobState.load(job).front
    server.restart()
    ordinary = [submitted(backend_for(server, seeded(number))) for number in range(2)]
    wait_until(lambda: server.engine.running)
    for _ in range(2):  # a job counts as lost after two looks
        backend_for(server, slow()).check(job)
    server.engine.gate.set()
    wait_until(lambda: len(server.engine.executed) == 3)
    assert server.engine.executed[1] == JobState.load(job).ids[0]
    assert server.engine.executed[0] == JobState.load(ordinary[0]).ids[0]


def recorded(server: ComfyUIServer) -> list[dict[str, object]]:
    """The bodies of the submissions that follow."""
    bodies: list[dict[str, object]] = []
    take = server.engine.submit

    def submit(body: dict[str, object]) -> tuple[int, object]:
        bodies.append(body)
        return take(body)

    server.engine.submit = submit  # type: ignore[method-assign]
    return bodies


def test_normal_leaves_the_submission_as_it_was(server: ComfyUIServer) -> None:
    bodies = recorded(server)
    invoked(backend_for(server, seeded(1)), extra={"priority": "normal"})
    invoked(backend_for(server, seeded(2)))
    invoked(backend_for(server, seeded(3)), extra={"priority": "high"})
    assert ["front" in body for body in bodies] == [False, False, True]
    assert bodies[2]["front"] is True


@pytest.mark.parametrize("model", ["comfyui-sdxl", "comfyui-flux", "comfyui-qwen-image", "comfyui-qwen-image-edit"])
def test_every_predefined_model_offers_it(model: str) -> None:
    (rule,) = [rule for rule in bound(model, {}).rules() if rule.name == "priority"]
    assert (rule.default, rule.options) == ("normal", ("normal", "high"))


def test_a_pasted_workflow_offers_it() -> None:
    names = [rule.name for rule in backend_for("http://127.0.0.1:9", slow()).rules()]
    assert names.count("priority") == 1


@pytest.mark.parametrize(("policy", "front"), [("look", False), ("all", True)])
def test_a_directive_sets_it_where_all_are_allowed(server: ComfyUIServer, policy: str, front: bool) -> None:
    bodies = recorded(server)
    call = Call(backend_for(server, slow()), Settings({}, {}))
    done = call.generate(Asked(Conversation("a fox --priority high"), {"directives": policy}))
    assert ["front" in body for body in bodies] == [front]
    assert any("`--priority high` was ignored" in notice for notice in done.result.notices) is not front
