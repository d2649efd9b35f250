"""What a server's JSON means: queue, history, files, refusals and failures, one value at a time."""

from typing import Any

import pytest

from models.backends.comfyui.client import (
    Accepted,
    FileRef,
    HistoryEntry,
    PromptRequest,
    Queue,
    QueueLength,
    Refused,
    RunStatus,
    Uploaded,
)
from models.backends.comfyui.results import dropped_outputs, failed_run, read_outputs, refusal
from models.backends.comfyui.state import JobState, changed, renamed, secrets_of
from models.backends.errors import ServerUnavailable

GRAPH: Any = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
    "3": {"class_type": "KSampler", "inputs": {"steps": 4}, "_meta": {"title": "Main"}},
}
END, ERROR, STOP = "execution_success", "execution_error", "execution_interrupted"


@pytest.mark.parametrize(
    ("status", "last", "failed"),
    [
        (None, "", False),
        ({}, "", False),
        ({"status_str": "error"}, "", True),
        ({"status_str": "success"}, "", False),
        ({"status_str": "error", "messages": [[END, {}]]}, END, False),
        ({"status_str": "success", "messages": [[ERROR, {}]]}, ERROR, True),
        ({"messages": [[ERROR, {}], [END, {}]]}, END, False),
        ({"messages": [[END, {}], [STOP, {}], ["status", {}]]}, STOP, True),
        ({"messages": [["status", {}]]}, "", False),
    ],
)
def test_the_last_message_about_the_end_decides(status: Any, last: str, failed: bool) -> None:
    entry = HistoryEntry.model_validate({"status": status})
    assert (entry.status.last, entry.failed) == (last, failed)


def test_the_error_is_that_of_the_last_message_with_data() -> None:
    status = RunStatus(
        messages=((ERROR, {"node_id": 4, "exception_message": "a"}), (ERROR, None), ("x", {"node_id": "9"}))
    )
    assert (status.error.node_id, status.error.exception_message, status.error.node_type) == ("4", "a", "")
    assert RunStatus().error.node_id == ""


@pytest.mark.parametrize(
    ("running", "pending", "place"),
    [
        ([], [], None),
        ([[1, "a", {}]], [], 0),
        ([[1, "b", {}]], [[2, "a", {}]], 1),
        ([[1, "b"]], [[9, "a"], [2.5, "c"], [-1, "d"]], 3),
        ([[1, "a"]], [[2, "a"]], 0),
    ],
)
def test_the_place_in_the_queue_counts_lower_numbers_first(running: Any, pending: Any, place: int | None) -> None:
    queue = Queue.model_validate({"queue_running": running, "queue_pending": pending})
    assert queue.place("a") == place


def test_small_replies_are_read() -> None:
    assert QueueLength.model_validate({"exec_info": {"queue_remaining": 3}}).remaining == 3
    assert Uploaded(name="a.png").as_input == "a.png"
    assert Uploaded(name="a.png", subfolder="x").as_input == "x/a.png"
    assert Uploaded(name="a.png", subfolder="x", type="temp").as_input == "x/a.png [temp]"
    assert FileRef.model_validate({"filename": "a", "subfolder": 5, "type": ""}) == FileRef(filename="a", subfolder="5")


@pytest.mark.parametrize("front", [None, True])
def test_a_request_refuses_unknown_keys(front: Any) -> None:
    known = {"prompt": {}, "prompt_id": "a", "client_id": "b", "extra_data": {}, "front": front}
    assert PromptRequest.model_validate(known).front is front
    with pytest.raises(ValueError, match="extra"):
        PromptRequest.model_validate({**known, "more": 1})


# --- outputs ---


def files(*names: str, kind: str = "output") -> dict[str, Any]:
    return {"images": [{"filename": name, "type": kind} for name in names]}


@pytest.mark.parametrize(
    ("outputs", "names", "one_batch"),
    [
        ({"1": files("a.png", "b.PNG")}, ["a.png", "b.PNG"], True),
        ({"1": files("a.png", kind="temp"), "2": files("b.png")}, ["b.png"], True),
        ({"1": files("a.png", kind="temp")}, ["a.png"], True),
        ({"2": files("b.png"), "1": files("a.png")}, ["a.png", "b.png"], False),
        ({"9": files("z.png"), "7": files("y.png"), "1": files("a.png")}, ["a.png", "y.png", "z.png"], False),
        ({"1": {"gifs": [{"filename": "a.mp4"}], "text": ["x"]}}, ["a.mp4"], True),
        ({"1": files("a.txt", "b.latent", "c")}, [], False),
        ({"1": {"images": [{"filename": ""}, {"name": "x"}]}}, [], False),
        ({}, [], False),
    ],
)
def test_saved_files_come_before_previews_in_the_order_of_the_graph(
    outputs: Any, names: list[str], one_batch: bool
) -> None:
    read = read_outputs(outputs, ["1", "2"])
    assert [file.filename for file in read.images] == names
    assert read.one_batch is one_batch
    assert read.notices == ()


@pytest.mark.parametrize(
    "suffix", ["png", "apng", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "mp4", "m4v", "mov", "webm", "mkv"]
)
def test_images_and_videos_are_delivered(suffix: str) -> None:
    assert len(read_outputs({"1": files(f"a.{suffix}")}, ["1"]).images) == 1


def test_other_files_are_told_by_their_kind() -> None:
    read = read_outputs({"1": files("a.avi", "b.flac", "c.wav", "d.png")}, ["1"])
    assert read.notices == (
        "The workflow also made video files, which are not delivered: a.avi",
        "The workflow also made sound files, which are not delivered: b.flac, c.wav",
    )


# --- refusals ---


def fault(kind: str = "value_not_in_list", **info: Any) -> dict[str, Any]:
    return {"type": kind, "message": "Value not in list", "details": "x", "extra_info": info}


def refused(
    error: Any = None, nodes: Any = (), choices: Any = lambda *_: (), parameters: Any = None
) -> tuple[str, str]:
    reply = Refused.model_validate(
        {"error": error or fault("prompt_outputs_failed_validation"), "node_errors": dict(nodes)}
    )
    error = refusal(reply, GRAPH, choices, parameters or {})
    assert error.attempted == "ComfyUI refused the workflow"
    return error.said, error.next_step


def node(*faults: dict[str, Any], kind: str = "CheckpointLoaderSimple") -> dict[str, Any]:
    return {"errors": list(faults), "class_type": kind}


NAMED = {"input_name": "ckpt_name", "received_value": "b"}


@pytest.mark.parametrize(
    ("config", "offered", "step"),
    [
        ([["a", "c"], {}], (), "Choose one of those on the server for `ckpt_name`: a, c; or put b into its `models/checkpoints`"),
        (["COMBO", {"options": ["a"]}], (), "Choose one of those on the server for `ckpt_name`: a; or put b into its `models/checkpoints`"),
        (None, ("z",), "Choose one of those on the server for `ckpt_name`: z; or put b into its `models/checkpoints`"),
        ([[], {}], (), "Put the file into `models/checkpoints` on the server"),
        (["INT", {}], (), "Put the file into `models/checkpoints` on the server"),
    ],
)  # fmt: skip
def test_a_missing_file_names_what_is_there(config: Any, offered: tuple[str, ...], step: str) -> None:
    nodes = {"4": node(fault(**NAMED, input_config=config))}
    assert refused(nodes=nodes, choices=lambda *_: offered) == (
        "node 4 (CheckpointLoaderSimple): Value not in list: x",
        step,
    )


def test_a_choice_that_is_no_file_names_the_parameter() -> None:
    wrong = fault(input_name="sampler_name", received_value="warp", input_config=[["euler"], {}])
    said, step = refused(nodes={"3": node(wrong)}, parameters={("3", "sampler_name"): "sampler"})
    assert said == 'node 3 (KSampler "Main"): Value not in list: x'
    assert step == "Choose one of those on the server for `sampler`: euler"
    assert refused(nodes={"9": node(wrong, kind="Other")})[0].startswith("node 9 (Other): ")


def test_a_choice_of_which_none_is_there_is_explained_by_its_words() -> None:
    wrong = fault(input_name="sampler_name", received_value="warp", input_config=[[], {}])
    assert refused(nodes={"3": node(wrong)})[1] == refused({"type": "x", "message": "m"})[1]


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (4, "; and 1 more"), (6, "; and 3 more")])
def test_three_faults_are_told(count: int, more: str) -> None:
    said, _ = refused(nodes={"4": node(*(fault(**NAMED) for _ in range(count)))})
    assert said == "; ".join(["node 4 (CheckpointLoaderSimple): Value not in list: x"] * min(count, 3)) + more


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "invalid_prompt", "message": "m", "details": "Node ID '#3'"}, 'the server does not have node 3 (KSampler "Main")'),
        ({"type": "missing_node_type", "message": "m", "extra_info": {"node_id": "3"}}, 'the server does not have node 3 (KSampler "Main")'),
        ({"type": "invalid_prompt", "message": "m", "details": "Node ID '#99'"}, "m: Node ID '#99'"),
        ({"type": "other", "message": "m", "details": "Node ID '#3'"}, "m: Node ID '#3'"),
        ({"type": "invalid_prompt", "message": "m", "details": "no id"}, "m: no id"),
        ({"type": "missing_node_type", "message": "m", "details": "'#4'", "extra_info": {"node_id": "3"}}, 'the server does not have node 3 (KSampler "Main")'),
        ({"type": "other", "message": "m"}, "m"),
        ({"type": "other", "message": "Node type KSampler not found."}, 'the server does not have node 3 (KSampler "Main")'),
        ({"type": "other", "message": "A KSampler input is too large"}, "A KSampler input is too large"),
    ],
)  # fmt: skip
def test_a_missing_class_is_named_by_its_node(error: Any, said: str) -> None:
    found, step = refused(error)
    assert found == said
    assert ("Install the extension that brings it on the ComfyUI server" in step) is said.startswith("the server")


def test_parts_that_were_left_out_are_told() -> None:
    reply = Accepted.model_validate({"prompt_id": "p", "node_errors": {"3": {"errors": [{"message": "gone"}]}}})
    assert dropped_outputs(reply, GRAPH) == [
        'The server left out a part of the workflow: node 3 (KSampler "Main"): gone'
    ]
    assert dropped_outputs(Accepted(prompt_id="p"), GRAPH) == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (ERROR, {"node_id": "3", "exception_message": " bad \n"}, 'node 3 (KSampler "Main"): bad'),
        (ERROR, {"node_id": "9", "node_type": "X", "exception_type": "ValueError"}, "node 9 (X): ValueError"),
        (ERROR, {"exception_message": "bad"}, "the job: bad"),
        (ERROR, {}, "the job: failed without a message"),
        (STOP, {"node_id": "3"}, 'interrupted on the server at node 3 (KSampler "Main")'),
        (STOP, {}, "interrupted on the server at the job"),
    ],
)
def test_a_failure_names_its_node(name: str, data: Any, said: str) -> None:
    error = failed_run(RunStatus(messages=((name, data),)), GRAPH)
    assert error.said == said
    if name == STOP:
        assert isinstance(error, ServerUnavailable)
        assert error.next_step == "Run it again unless it was stopped on purpose"


# --- the state of a job ---

KEYED: Any = {
    "1": {"class_type": "A", "inputs": {"api_key": "k", "password": "p", "seed": 1, "filename_prefix": "out"}},
    "2": {
        "class_type": "B",
        "inputs": {"token": "", "max_token": "5", "my_token": "t", "secret": 5, "apikey": ["1", 0]},
    },
}


def test_keys_in_a_workflow_are_no_part_of_the_state() -> None:
    assert secrets_of(KEYED) == [("1", "api_key", "k"), ("1", "password", "p"), ("2", "my_token", "t")]
    other = changed(KEYED, [("1", "seed", 2), ("9", "seed", 3)])
    assert KEYED["1"]["inputs"]["seed"] == 1
    state = JobState.of([(KEYED, 1), (other, 2)], prompt="x", keep_workflow=False)
    assert secrets_of(state.graph) == []
    assert [(one.seed, one.changes) for one in state.submissions] == [(1, ()), (2, (("1", "seed", 2),))]
    assert state.graph_of(state.submissions[1])["1"]["inputs"]["seed"] == 2  # type: ignore[index, call-overload]
    assert len({*state.ids, state.client_id}) == 3
    assert (state.keep_workflow, state.server, state.front, state.version) == (False, 0, False, "main")
    assert [(one.tries, one.missing) for one in state.submissions] == [(1, False)] * 2
    assert JobState.load(state.dump()) == state


def test_a_second_saving_has_another_file_name() -> None:
    assert renamed(KEYED, "mark") == [("1", "filename_prefix", "out-mark")]
    assert renamed({"1": {"class_type": "A", "inputs": {"filename_prefix": ["2", 0]}}}, "mark") == []


def test_notices_are_told_once() -> None:
    state = JobState.of([(KEYED, 1)], prompt="x", keep_workflow=True)
    state.add_notices("a", "b", "a")
    state.add_notices("b", "c")
    assert state.notices == ["a", "b", "c"]
