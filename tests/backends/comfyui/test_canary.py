"""Gray release: a second workflow for a share of the requests, the same for one end user, named in receipt and log."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from models.backends.comfyui import ComfyUI
from models.backends.comfyui.canary import Translation, read_percent, takes_inputs, version_for
from models.backends.comfyui.graph import Workflow
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ServerUnavailable
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult, InputImage
from models.parameters import MAX_SEED
from models.pipeline import Asked, Call, Finished, Waiting
from models.request.conversation import Conversation
from models.settings import Access
from tests.asking import asked
from tests.backends.comfyui.graphs import recorded_info
from tests.backends.comfyui.jobs import Graph, HurriedClock, backend_for, comfyui, failing, invoked, sampled, slow
from tests.fakes import image_file
from tests.servers.comfyui import ComfyUIServer, wait_until

USERS = [f"user-{number}" for number in range(5_000)]


def backend(
    server: ComfyUIServer, main: Graph, second: Graph, percent: str = "100", clock: HurriedClock | None = None
) -> ComfyUI:
    return backend_for(server, main, clock, canary_workflow=json.dumps(second), canary_percent=percent)


def ran(server: ComfyUIServer) -> Graph:
    """The graph of the last job."""
    (*_, entry) = server.engine.history.values()
    graph: Graph = entry["prompt"][2]
    return graph


# Who gets which


@pytest.mark.parametrize("percent", [1, 20, 50, 99])
def test_the_share_of_users_is_the_percentage(percent: int) -> None:
    counted = Counter(version_for("poster", user, percent) for user in USERS)
    assert counted["canary"] == pytest.approx(len(USERS) * percent / 100, abs=100)


def test_nobody_at_0_and_everybody_at_100() -> None:
    assert {version_for("poster", user, 0) for user in USERS} == {"main"}
    assert {version_for("poster", user, 100) for user in USERS} == {"canary"}


def test_a_larger_share_only_adds_users() -> None:
    at_20 = {user for user in USERS if version_for("poster", user, 20) == "canary"}
    at_40 = {user for user in USERS if version_for("poster", user, 40) == "canary"}
    assert at_20 < at_40


def test_another_model_draws_anew() -> None:
    drawn = [(version_for("poster", user, 50), version_for("banner", user, 50)) for user in USERS]
    assert sum(one == other for one, other in drawn) == pytest.approx(len(USERS) / 2, abs=150)


# What the second workflow takes of a request

PHOTO = InputImage(image_file(), "image/png")


def editing(*, masked: bool = False) -> Workflow:
    """A workflow that needs one image, and can take a mask."""
    graph = sampled()
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    graph["12"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["11", 0], "mask": ["10", 1]}}
    graph["3"]["inputs"]["latent_image"] = ["12" if masked else "11", 0]
    return Workflow.load(json.dumps(graph))


def drawing(**changes: Any) -> Workflow:
    return Workflow.load(json.dumps(sampled(**changes)))


def wanted(**parts: Any) -> ImageRequest:
    return ImageRequest(**{"model": "poster", "prompt": "a fox", **parts})


@pytest.mark.parametrize(
    ("workflow", "parts", "takes"),
    [
        (drawing(), {}, True),
        (drawing(), {"images": (PHOTO,)}, False),
        (editing(), {}, False),
        (editing(), {"images": (PHOTO,)}, True),
        (editing(), {"images": (PHOTO, PHOTO)}, False),
        (editing(), {"images": (PHOTO,), "mask": PHOTO}, False),
        (editing(masked=True), {"images": (PHOTO,), "mask": PHOTO}, True),
        (editing(masked=True), {"mask": PHOTO}, False),
        (drawing(), {"seeds": (MAX_SEED,)}, True),
        (drawing(), {"seeds": (MAX_SEED + 1,)}, False),
    ],
)
def test_images_mask_and_seed_must_fit_the_second_workflow(
    workflow: Workflow, parts: dict[str, Any], takes: bool
) -> None:
    assert takes_inputs(workflow, wanted(**parts)) is takes


WHY_NOT = "The second workflow did not use `{}`: it has no such parameter"


@pytest.mark.parametrize(
    ("parts", "changed", "notices"),
    [
        ({}, {}, ()),
        ({"steps": 9}, {"steps": None}, (WHY_NOT.format("steps"),)),
        ({"steps": 4}, {"steps": None}, ()),
        ({"negative_prompt": "dark"}, {"negative_prompt": ""}, (WHY_NOT.format("negative_prompt"),)),
        ({"negative_prompt": "text"}, {"negative_prompt": ""}, ()),
        ({"extra": {"filename_prefix": "mine"}}, {}, ()),
        ({"extra": {"filename_prefix": "fox"}}, {"extra": {}}, ()),
        ({"extra": {"draft": True, "embed_workflow": True, "priority": "high"}}, {}, ()),
        ({"seeds": (7,), "n": 2, "output_format": "webp", "output_quality": 50}, {}, ()),
    ],
)
def test_what_the_second_workflow_cannot_take_is_left_out(
    parts: dict[str, Any], changed: dict[str, Any], notices: tuple[str, ...]
) -> None:
    """The first has steps and a negative prompt, the second has neither; a default of the form is left out silently."""
    both = Translation(drawing(), Workflow.load(json.dumps(slow())))
    request = wanted(**parts)
    assert both.of(request) == replace(request, **changed, notices=notices)


@pytest.mark.parametrize(
    ("steps", "kept", "notices"),
    [
        (9, 9, ()),
        (99_999, None, ("The second workflow did not use `steps`: 99999 is not a value of its own (",)),
    ],
)
def test_a_value_is_checked_against_the_second_workflows_own_bounds(
    steps: int, kept: int | None, notices: tuple[str, ...]
) -> None:
    told = Translation(drawing(), drawing().known(recorded_info())).of(wanted(steps=steps))
    assert told.steps == kept
    assert len(told.notices) == len(notices)
    assert all(notice.startswith(start) for notice, start in zip(told.notices, notices, strict=True))


@pytest.mark.parametrize(
    ("second", "asked_for", "size", "notices"),
    [
        (drawing(width=128, height=96), (64, 64), None, ("The second workflow's own size applies: 128×96",)),
        (drawing(), (64, 64), None, ()),
        (editing(), (64, 64), None, ()),
        (drawing(width=128, height=96), (80, 64), (80, 64), ()),
        (drawing(width=128, height=96), (None, None), None, ()),
    ],
)
def test_the_first_workflows_own_size_becomes_that_of_the_second(
    second: Workflow, asked_for: tuple[int | None, int | None], size: tuple[int, int] | None, notices: tuple[str, ...]
) -> None:
    width, height = asked_for
    told = Translation(drawing(), second).of(wanted(width=width, height=height))
    assert (told.size, told.notices) == (size, notices)


@pytest.mark.parametrize(
    ("written", "percent"), [("", 0), ("0", 0), ("0.5", 0.5), ("20%", 20), ("20 %", 20), ("100", 100), ("%", 0)]
)
def test_a_share_is_a_number_from_0_to_100(written: str, percent: float) -> None:
    assert read_percent(Access(canary_percent=written)) == percent


# The second workflow at work


def test_the_second_workflow_runs_with_its_own_values_where_the_form_was_left_alone(server: ComfyUIServer) -> None:
    both = backend(server, sampled(steps=4, cfg=7.0), sampled(steps=2, cfg=1.5, sampler_name="dpmpp_2m"))
    result = invoked(both, "a fox", steps=4, cfg_scale=7.0, sampler="euler", seed=5)
    inputs = ran(server)["3"]["inputs"]
    assert (inputs["steps"], inputs["cfg"], inputs["sampler_name"], inputs["seed"]) == (2, 1.5, "dpmpp_2m", 5)
    assert ran(server)["6"]["inputs"]["text"] == "a fox"
    assert result.notices == ()


def test_a_value_that_was_set_goes_to_the_second_workflow_too(server: ComfyUIServer) -> None:
    invoked(backend(server, sampled(steps=4), sampled(steps=2)), steps=3, negative_prompt="blurry")
    assert ran(server)["3"]["inputs"]["steps"] == 3
    assert ran(server)["7"]["inputs"]["text"] == "blurry"


def test_a_value_that_the_second_workflow_cannot_take_is_told(server: ComfyUIServer) -> None:
    result = invoked(backend(server, sampled(), slow()), steps=9, checkpoint="other.safetensors")
    assert "The second workflow did not use `steps`: it has no such parameter" in result.notices
    assert "The second workflow did not use `checkpoint`: it has no such parameter" in result.notices


def test_a_value_outside_the_second_workflows_choices_is_told(server: ComfyUIServer) -> None:
    both = backend(server, sampled(), sampled(sampler_name="dpmpp_2m"))
    both.learn(both.within(5))
    result = invoked(both, sampler="no_such_sampler")
    assert ran(server)["3"]["inputs"]["sampler_name"] == "dpmpp_2m"
    assert any("did not use `sampler`: 'no_such_sampler' is not a value of its own" in one for one in result.notices)


def test_the_own_size_of_the_second_workflow_applies_and_is_told(server: ComfyUIServer) -> None:
    both = backend(server, sampled(), sampled(width=128, height=96))
    left_alone, chosen = invoked(both), invoked(both, width=80, height=80)
    assert left_alone.images[0].size == (128, 96)
    assert left_alone.notices == ("The second workflow's own size applies: 128×96",)
    assert chosen.images[0].size == (80, 80)


def test_input_images_that_the_second_workflow_does_not_take_go_to_the_first(server: ComfyUIServer) -> None:
    editing = slow()
    editing["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    both = backend(server, editing, sampled())
    request = asked(both, images=(InputImage(image_file(), "image/png"),), timeout=30.0)
    assert both.version(request) == "main"
    result = both.invoke(request)
    assert any(notice.startswith("The second workflow was not used") for notice in result.notices)
    assert ran(server)["1"]["class_type"] == "LoadImage"


def test_the_form_is_that_of_the_first_workflow(server: ComfyUIServer) -> None:
    alone, both = backend_for(server, sampled()), backend(server, sampled(), slow())
    assert both.rules() == alone.rules()
    assert both.live_form(both.within(5)) == alone.live_form(alone.within(5))


def test_a_broken_second_workflow_stops_only_its_own_share(server: ComfyUIServer) -> None:
    both = backend_for(server, slow(), canary_workflow="{", canary_percent="50")
    both.learn(both.within(5))
    lucky = next(user for user in USERS if version_for("my-workflow", user, 50) == "main")
    other = next(user for user in USERS if version_for("my-workflow", user, 50) == "canary")
    assert invoked(both, user=lucky).images
    with pytest.raises(BadRequest):
        invoked(both, user=other)


# Polling


def test_the_state_names_the_version_and_keeps_its_secrets_out(server: ComfyUIServer) -> None:
    second = slow()
    second["2"]["inputs"]["api_key"] = "of-the-second"
    both = backend(server, slow(), second)
    server.engine.gate.clear()
    job = both.submit(asked(both, timeout=30.0))
    assert isinstance(job, dict)
    text = json.dumps(job)
    assert JobState.load(job).version == "canary"
    assert "of-the-second" not in text
    server.restart()
    server.engine.gate.set()
    other = backend(server, slow(), second, clock=HurriedClock(5))
    seen = other.watch(json.loads(text), Deadline.after(other.clock, 60), started=other.clock.now())
    assert isinstance(seen, ImageResult)
    assert ran(server)["2"]["inputs"]["api_key"] == "of-the-second", "the second workflow was submitted again"


def test_a_job_goes_on_when_the_second_workflow_was_taken_out(server: ComfyUIServer) -> None:
    both = backend(server, slow(), slow(prefix="second"))
    job = both.submit(asked(both, timeout=30.0))
    assert isinstance(job, dict)
    alone = backend_for(server, slow())
    wait_until(lambda: isinstance(alone.check(job), ImageResult))


# Receipt and log


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    lines = [record.getMessage() for record in caplog.records]
    return [json.loads(line.removeprefix("image_request ")) for line in lines if line.startswith("image_request ")]


def call(server: ComfyUIServer, second: Graph, user: str | None, percent: str = "50") -> Call:
    form = {
        "backend": "comfyui",
        "base_url": server.url,
        "workflow": json.dumps(slow()),
        "canary_workflow": json.dumps(second),
        "canary_percent": percent,
    }
    return Call.of("my-workflow", form, user)


def test_the_audit_line_names_the_version_of_each_user(server: ComfyUIServer, caplog: pytest.LogCaptureFixture) -> None:
    users = USERS[:6]
    for user in users:
        call(server, slow(prefix="second"), user).generate(Asked(Conversation("a fox"), {}))
    assert [line["version"] for line in audited(caplog)] == [version_for("my-workflow", user, 50) for user in users]
    assert {line["version"] for line in audited(caplog)} == {"main", "canary"}


def test_a_failure_names_its_version_too(server: ComfyUIServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ServerUnavailable):
        call(server, failing("cuda_oom"), "user-7", "100").generate(Asked(Conversation("a fox"), {}))
    (line,) = audited(caplog)
    assert (line["version"], line["outcome"]) == ("canary", "failed")


def test_a_polled_job_names_the_version_in_its_last_call(
    server: ComfyUIServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.engine.gate.clear()
    started = call(server, slow(prefix="second"), "user-7", "100").start(Asked(Conversation("a fox"), {}))
    assert isinstance(started, Waiting)
    server.engine.gate.set()
    wait_until(lambda: server.engine.executed)
    done = call(server, slow(prefix="second"), None, "0").check(started.state)
    assert isinstance(done, Finished)
    assert [line["version"] for line in audited(caplog)] == ["canary"]


def test_without_a_user_each_request_draws(server: ComfyUIServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(24):
        call(server, slow(prefix="second"), None).generate(Asked(Conversation("a fox"), {}))
    assert {line["version"] for line in audited(caplog)} == {"main", "canary"}


def test_a_model_with_one_workflow_has_no_version(server: ComfyUIServer, caplog: pytest.LogCaptureFixture) -> None:
    form = {"backend": "comfyui", "base_url": server.url, "workflow": json.dumps(slow())}
    Call.of("my-workflow", form, "user-7").generate(Asked(Conversation("a fox"), {}))
    (line,) = audited(caplog)
    assert "version" not in line


# The form


@pytest.mark.parametrize("percent", ["101", "-1", "half", "nan", "20 30"])
def test_a_share_that_is_none_is_refused_when_the_form_is_saved(server: ComfyUIServer, percent: str) -> None:
    with pytest.raises(BadRequest, match="is not a share of requests") as failure:
        list(backend(server, sampled(), sampled(), percent).probe())
    assert "(canary_percent) in the model's settings" in str(failure.value)


def test_a_share_without_a_second_workflow_is_refused(server: ComfyUIServer) -> None:
    with pytest.raises(BadRequest, match=r"Fill .*\(workflow\) and .*\(canary_workflow\)"):
        list(backend_for(server, sampled(), canary_percent="20%").probe())


def test_saving_checks_the_second_workflow_as_well(server: ComfyUIServer) -> None:
    lacking = {**slow(), "9": {"class_type": "NoSuchNode", "inputs": {"images": ["2", 0]}}}
    lacking["3"]["inputs"]["images"] = ["9", 0]
    with pytest.raises(BadRequest, match="NoSuchNode"):
        list(backend(server, sampled(), lacking, "0").probe())


def test_saving_tells_what_was_understood_of_both(server: ComfyUIServer) -> None:
    told = list(backend(server, sampled(), sampled(), "20").probe())
    assert any(sentence.startswith("second workflow: `prompt` goes to") for sentence in told)
    assert any(sentence.startswith("`prompt` goes to") for sentence in told)


def test_a_predefined_model_has_no_second_workflow(server: ComfyUIServer) -> None:
    assert comfyui("comfyui-sdxl", {"comfyui_base_url": server.url}).canary is None
