"""The job as JSON."""

import json
import uuid

from models.backends.comfyui.state import JobState, renamed
from tests.backends.comfyui.jobs import TXT2IMG, sampled


def test_a_job_of_several_runs_holds_its_graph_once() -> None:
    graphs = [(sampled(seed=seed), seed) for seed in range(10)]
    state = JobState.of(graphs, prompt="fox", keep_workflow=False)
    assert [state.graph_of(run)["3"]["inputs"]["seed"] for run in state.submissions] == list(range(10))  # type: ignore[index, call-overload]
    assert len(json.dumps(state.dump())) < 2 * len(json.dumps(sampled())) + 2_000
    assert JobState.load(state.dump()) == state
    assert all(str(uuid.UUID(name)) == name for name in state.ids)


def test_only_the_saving_nodes_are_renamed() -> None:
    assert renamed(TXT2IMG, "again") == [("9", "filename_prefix", "fox-again")]
