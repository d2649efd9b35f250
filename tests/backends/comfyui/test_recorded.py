"""Parses everything that the recorded servers sent: replies, refusals, failures, events."""

import json

import pytest

from models.backends.comfyui.client import Accepted, History, HistoryEntry, Queue, Refused, SystemStats, Uploaded
from models.backends.comfyui.events import JobProgress, read_event
from models.backends.comfyui.results import dropped_outputs, failed_run, read_outputs, refusal
from models.backends.errors import BadRequest, ImageError
from models.backends.reply import parse
from tests.backends.comfyui.recordings import Exchange, exchange, exchanges, messages

ALL = list(exchanges())
HISTORIES = [one for one in ALL if one.path.startswith("/history/") and one.reply.ok and one.reply.body != b"{}"]
REFUSALS = [one for one in ALL if one.path == "/prompt" and one.reply.status == 400]


def entry_of(one: Exchange) -> HistoryEntry:
    (entry,) = parse(one.reply, History, attempt="Asking").root.values()
    return entry


def images(scenario: str, step: str) -> list[str]:
    one = exchange(scenario, step)
    (raw,) = one.reply.json().values()  # type: ignore[attr-defined]
    return [file.filename for file in read_outputs(entry_of(one).outputs, raw["prompt"][2]).images]


def refused_words(one: Exchange) -> BadRequest:
    graph = one.body.get("prompt") or {} if isinstance(one.body, dict) else {}
    clean = {
        key: {**node, "inputs": node.get("inputs", {})}
        for key, node in graph.items()
        if isinstance(node, dict) and "class_type" in node
    }
    return refusal(parse(one.reply, Refused, attempt="Submitting"), clean, lambda *_: (), {})


@pytest.mark.parametrize(
    "one", [one for one in ALL if one.path == "/prompt" and one.method == "POST" and one.reply.ok], ids=str
)
def test_every_accepted_submission_is_parsed(one: Exchange) -> None:
    accepted = parse(one.reply, Accepted, attempt="Submitting")
    assert bool(dropped_outputs(accepted, one.body["prompt"])) == ("bad output" in one.step)


@pytest.mark.parametrize("one", REFUSALS, ids=str)
def test_every_refusal_has_a_message_and_a_next_step_without_server_paths(one: Exchange) -> None:
    error = refused_words(one)
    assert error.said
    assert error.next_step
    assert "/opt/" not in str(error)
    assert "Traceback" not in str(error)
    for node in parse(one.reply, Refused, attempt="Submitting").node_errors:
        assert f"node {node} (" in error.said


def test_a_missing_checkpoint_lists_the_available_ones() -> None:
    said = str(refused_words(exchange("validation-errors", "checkpoint not installed")))
    assert said == (
        'ComfyUI refused the workflow: node 4 (CheckpointLoaderSimple "Load Checkpoint"): Value not in list: ckpt_name: '
        "'sd_xl_base_1.0.safetensors' not in ['tiny-random-sd15.safetensors']. Choose one of those on the server for "
        "`ckpt_name`: tiny-random-sd15.safetensors; or put sd_xl_base_1.0.safetensors into its `models/checkpoints`."
    )


def test_a_missing_node_is_named_by_its_title() -> None:
    said = str(refused_words(exchange("validation-errors", "unknown node")))
    assert 'node 1 (NoSuchNode "Fancy custom node")' in said
    assert "Install the extension that brings it" in said


@pytest.mark.parametrize("one", HISTORIES, ids=str)
def test_every_finished_job_is_judged_by_its_last_message(one: Exchange) -> None:
    entry = entry_of(one)
    failed = entry.status.last in {"execution_error", "execution_interrupted"}
    assert entry.failed is failed
    assert failed is (entry.status.status_str == "error")


@pytest.mark.parametrize(
    ("scenario", "step", "words"),
    [
        ("execution-errors", "history value_error", "node 3 (DevFail): "),
        ("execution-errors", "history cuda_oom", "CUDA out of memory"),
        ("execution-errors", "history runtime", "made for this checkpoint"),
        ("execution-errors", "history without client_id", "node "),
        ("corrupt-checkpoint", "history", "damaged or incomplete"),
        ("upload", "history not an image", "cannot identify image file"),
        ("interrupt", "history interrupted", "interrupted on the server at node 2 (DevSleep)"),
        ("v0.3.64-interrupt", "history global interrupt", "interrupted on the server"),
        ("ksampler-interrupt", "history", "node 3 (KSampler"),
    ],
)
def test_every_kind_of_failure_names_its_node(scenario: str, step: str, words: str) -> None:
    one = exchange(scenario, step)
    (raw,) = one.reply.json().values()  # type: ignore[attr-defined]
    status = entry_of(one).status
    error = failed_run(status, raw["prompt"][2])
    assert isinstance(error, ImageError)
    assert words in str(error)
    assert "traceback" not in str(error).lower()
    assert "tensor(" not in str(error)


def test_saved_images_are_in_batch_order_and_precede_previews() -> None:
    assert images("batch3", "history") == ["batch_00001_.png", "batch_00002_.png", "batch_00003_.png"]
    assert images("upload", "history src.png") == ["ComfyUI_temp_svqgr_00001_.png"]


def test_animations_and_videos_are_delivered_and_sounds_are_named() -> None:
    assert images("other-outputs", "history SaveAnimatedWEBP") == ["anim_00003_.webp"]
    assert images("other-outputs", "history SaveAnimatedPNG") == ["anim_00004_.png"]
    assert images("other-outputs", "history SaveWEBM") == ["vid_00002_.webm"]
    assert images("other-outputs", "history SaveVideo") == ["vid_00002_.mp4"]
    outputs = read_outputs(entry_of(exchange("other-outputs", "history SaveAudio")).outputs, ())
    assert outputs.images == ()
    assert "a_00002_.flac" in outputs.notices[0]


@pytest.mark.parametrize("step", ["PreviewAny text", "SaveLatent", "SaveImageWebsocket"])
def test_text_and_latents_are_not_images(step: str) -> None:
    assert images("other-outputs", f"history {step}") == []


def test_places_in_the_queue_follow_the_servers_order() -> None:
    queue = parse(exchange("queue", "queue").reply, Queue, attempt="Asking")
    ids = [name for _, name in (*queue.queue_running, *queue.queue_pending)]
    places = {name: queue.place(name) for name in ids}
    assert sorted(place for place in places.values() if place is not None) == [0, 1, 2, 3, 4]
    assert [queue.place(name) for _, name in sorted(queue.queue_pending)] == [1, 2, 3, 4]
    assert queue.place("somebody else's") is None


@pytest.mark.parametrize(
    "one", [one for one in ALL if one.path == "/queue" and one.method == "GET" and one.reply.ok], ids=str
)
def test_every_recorded_queue_is_parsed(one: Exchange) -> None:
    queue, raw = parse(one.reply, Queue, attempt="Asking"), json.loads(one.reply.body)
    for kind, jobs in (("queue_running", queue.queue_running), ("queue_pending", queue.queue_pending)):
        assert [(number, name) for number, name in jobs] == [(item[0], item[1]) for item in raw[kind]]


def test_the_file_name_chosen_by_the_server_is_loaded() -> None:
    names = {one.step: parse(one.reply, Uploaded, attempt="Sending").as_input
             for one in ALL if one.path.endswith("/upload/image") and one.reply.ok}  # fmt: skip
    assert names["same name, other bytes"] == "src (1).png"
    assert names["subfolder"] == "dify/in/x.png"
    assert names["type temp"] == "t.png [temp]"
    assert names["type output"] == "o.png [output]"


@pytest.mark.parametrize(("scenario", "version"), [("info", "0.10.0"), ("v0.3.64-info", "0.3.64")])
def test_the_version_is_parsed(scenario: str, version: str) -> None:
    stats = parse(exchange(scenario, "get /system_stats").reply, SystemStats, attempt="Checking")
    assert stats.comfyui_version == version


def heard(scenario: str, prompt_id: str, label: str = "main") -> tuple[JobProgress, list[str]]:
    words: list[str] = []
    progress = JobProgress([prompt_id], report=words.append)
    for message in messages(scenario, label):
        progress.record(read_event(message))
    return progress, words


def ids_of(scenario: str) -> list[str]:
    submitted = [one for one in ALL if one.scenario == scenario and one.path == "/prompt" and one.reply.ok]
    return [parse(one.reply, Accepted, attempt="Submitting").prompt_id for one in submitted]


@pytest.mark.parametrize("scenario", ["txt2img-free", "batch3", "cached", "ksampler", "interrupt", "other-outputs"])
def test_the_end_of_every_job_is_received(scenario: str) -> None:
    ended = [heard(scenario, prompt_id)[0].over for prompt_id in ids_of(scenario)]
    assert ended
    assert all(ended)


def test_steps_are_reported_and_an_interrupted_job_is_a_failure() -> None:
    _, words = heard("ksampler", ids_of("ksampler")[0])
    assert [word for word in words if word.startswith("step")] == [f"step {n}/4" for n in range(1, 5)]
    progress, _ = heard("interrupt", ids_of("interrupt")[0])
    assert progress.failed


def test_events_of_other_jobs_are_ignored() -> None:
    progress, words = heard("queue", "11111111-1111-4111-8111-111111111111", "bystander")
    assert not progress.over
    assert words == []


def test_a_websocket_opened_during_a_job_receives_the_rest() -> None:
    progress, words = heard("ws-reconnect", ids_of("ws-reconnect")[0], "second-same-clientId")
    assert progress.over
    assert words[0] == "step 2/4"


def test_a_closed_connection_does_not_end_the_job() -> None:
    _, running, waiting = ids_of("restart")
    assert not heard("restart", running, "before")[0].over
    assert not heard("restart", waiting, "before")[0].started
