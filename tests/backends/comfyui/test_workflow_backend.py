"""A model that is a workflow: which graph a request becomes, what the form takes, and what is checked when it is saved."""

import json
from typing import Any

import pytest

from models.backends.comfyui import ComfyUI
from models.backends.comfyui.model_workflow import PastedWorkflow, ShippedWorkflows
from models.backends.comfyui.workflow_backend import with_files
from models.backends.errors import BadRequest, ConnectionFailed
from models.entities import ImageRequest, InputImage
from models.sizes import FreeSizes, NoSizes
from tests.asking import asked
from tests.backends.comfyui.graphs import text_of
from tests.backends.comfyui.jobs import Graph, comfyui, edited, sampled, slow, without_socket
from tests.backends.comfyui.simulated import PNG, SimulatedServer
from tests.fakes import FakeClock

PHOTO = InputImage(PNG, "image/png")
EDITOR: Any = json.loads(text_of("ui/node_titles.ui.json"))
FORM = {"comfyui_base_url": "http://comfy.test"}


def shipped(clock: FakeClock, model: str = "comfyui-sdxl", **form: str) -> ComfyUI:
    return comfyui(model, {**FORM, **form}, clock)


def pair(clock: FakeClock, main: Graph, second: Graph | str, percent: str = "100") -> ComfyUI:
    text = second if isinstance(second, str) else json.dumps(second)
    return without_socket(clock, main, canary_workflow=text, canary_percent=percent)


def sent(simulated: SimulatedServer, place: int = -1) -> Any:
    return simulated.submitted[place].prompt


# --- which workflows a model has ---


def test_a_model_has_its_own_workflow_or_those_of_its_card(simulated: SimulatedServer, clock: FakeClock) -> None:
    assert isinstance(shipped(clock).workflow, ShippedWorkflows)
    assert isinstance(without_socket(clock, sampled()).workflow, PastedWorkflow)
    bare = comfyui("foxes", {"backend": "comfyui", "base_url": "http://comfy.test"}, clock)
    assert isinstance(bare.workflow, PastedWorkflow)
    assert (bare.workflow.pasted, bare.canary) == ("", None)


def test_a_second_workflow_needs_a_first(simulated: SimulatedServer, clock: FakeClock) -> None:
    form = {"backend": "comfyui", "base_url": "http://comfy.test", "canary_workflow": json.dumps(slow())}
    assert comfyui("foxes", form, clock).canary is None
    assert without_socket(clock, sampled()).canary is None
    both = pair(clock, sampled(), slow())
    assert both.canary is not None
    assert [source.source for source in both.pasted] == ["workflow", "canary_workflow"]
    assert [source.source for source in without_socket(clock, sampled()).pasted] == ["workflow"]
    assert shipped(clock).pasted == []


def test_shipped_workflows_have_no_node_that_the_account_pays_for(clock: FakeClock) -> None:
    paid = {"comfy_account_api_key": "account-key", "comfyui_comfy_account_api_key": "account-key"}
    assert shipped(clock, **paid).account_key == ""
    assert without_socket(clock, sampled(), **paid).account_key == "account-key"


@pytest.mark.parametrize(("count", "refused"), [(0, False), (2, False), (3, True)])
def test_a_shipped_model_says_how_many_images_it_takes(clock: FakeClock, count: int, refused: bool) -> None:
    if refused:
        with pytest.raises(BadRequest, match=r"Send at most 1 and a mask.*set `controlnet`"):
            shipped(clock).check_image_count(count)
    else:
        shipped(clock).check_image_count(count)


def test_a_pasted_workflow_takes_as_many_images_as_it_loads(clock: FakeClock) -> None:
    backend = without_socket(clock, edited())
    backend.check_image_count(1)
    with pytest.raises(BadRequest):
        backend.check_image_count(2)


# --- sizes and seeds ---


def test_sizes_and_seeds_are_those_of_the_workflow(clock: FakeClock) -> None:
    request = ImageRequest(model="x", prompt="a fox")
    drawing, editing = without_socket(clock, sampled()), without_socket(clock, edited())
    sizes, seeds = drawing.sizes(request), drawing.seeds(request)
    assert isinstance(sizes, FreeSizes)
    assert sizes.default == (64, 64)
    assert seeds is not None
    assert seeds.draw
    assert isinstance(editing.sizes(request), NoSizes)


def test_a_workflow_that_cannot_be_read_has_no_sizes_and_no_seeds(clock: FakeClock) -> None:
    request = ImageRequest(model="x", prompt="a fox")
    backend = without_socket(clock, EDITOR)
    assert (backend.sizes(request), backend.seeds(request)) == (None, None)
    masked = ImageRequest(model="x", prompt="a fox", mask=PHOTO)
    assert (shipped(clock).sizes(masked), shipped(clock).seeds(masked)) == (None, None)


# --- which of two versions ---


@pytest.mark.parametrize(
    ("second", "percent", "images", "version"),
    [
        (slow(), "100", 0, "canary"),
        (slow(), "0", 0, "main"),
        (edited(), "100", 0, "main"),
        (edited(), "100", 1, "canary"),
        ("{", "100", 0, "canary"),
    ],
)
def test_the_second_version_serves_its_share_of_what_it_takes(
    clock: FakeClock, second: Graph | str, percent: str, images: int, version: str
) -> None:
    backend = pair(clock, sampled(), second, percent)
    request = ImageRequest(model="x", prompt="a fox", images=(PHOTO,) * images)
    assert backend.version(request) == version


def test_a_model_with_one_workflow_has_no_version_but_its_jobs_run_the_main_one(
    simulated: SimulatedServer, clock: FakeClock
) -> None:
    backend = without_socket(clock, sampled(), canary_percent="100")
    request = asked(backend)
    assert backend.version(request) is None
    job = backend.submit(request)
    assert isinstance(job, dict)
    assert job["version"] == "main"


def test_a_share_that_is_none_is_told_by_a_request(clock: FakeClock) -> None:
    with pytest.raises(BadRequest, match="is not a share of requests"):
        pair(clock, sampled(), slow(), "half").version(ImageRequest(model="x", prompt="a fox"))


def test_a_request_of_the_second_share_runs_the_second_workflow(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = pair(clock, sampled(), sampled(steps=2))
    job = backend.submit(asked(backend, steps=4))
    assert sent(simulated)["3"]["inputs"]["steps"] == 2
    assert isinstance(job, dict)
    assert (job["version"], job["notices"]) == ("canary", [])
    main = pair(clock, sampled(), sampled(steps=2), "0")
    main.submit(asked(main, steps=4))
    assert sent(simulated)["3"]["inputs"]["steps"] == 4


def test_a_request_that_the_second_workflow_does_not_take_runs_the_first(
    simulated: SimulatedServer, clock: FakeClock
) -> None:
    backend = pair(clock, sampled(), edited())
    job = backend.submit(asked(backend))
    assert isinstance(job, dict)
    assert job["version"] == "main"
    assert job["notices"] == [
        "The second workflow was not used: it does not take these input images, this mask or this seed"
    ]
    assert "10" not in sent(simulated)


# --- the graphs of a request ---


@pytest.mark.parametrize(
    ("graph", "parts", "seeds"),
    [
        (edited(), {"n": 1, "seed": 5}, [5]),
        (edited(), {"n": 3, "seed": 5}, [5, 6, 7]),
        (sampled(), {"n": 3, "seed": 5}, [5]),
    ],
)
def test_a_workflow_without_a_batch_runs_once_for_each_image(
    simulated: SimulatedServer, clock: FakeClock, graph: Graph, parts: dict[str, Any], seeds: list[int]
) -> None:
    backend = without_socket(clock, graph)
    images = (PHOTO,) if "10" in graph else ()
    backend.submit(asked(backend, images=images, **parts))
    assert [sent(simulated, place)["3"]["inputs"]["seed"] for place in range(len(simulated.submitted))] == seeds
    assert len(simulated.uploaded) == len(images), "all submissions share an upload"


def test_a_workflow_without_a_seed_and_a_batch_runs_once(simulated: SimulatedServer, clock: FakeClock) -> None:
    graph: Graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    backend = without_socket(clock, graph)
    backend.submit(asked(backend, images=(PHOTO,), n=2))
    assert len(simulated.submitted) == 1


def test_an_image_that_only_a_socket_would_send_is_shown_as_a_preview() -> None:
    graph: Any = {
        "1": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["2", 0]}},
        "2": {"class_type": "VAEDecode", "inputs": {}},
    }
    shown = with_files(graph)
    assert shown == {"1": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}, "2": graph["2"]}


def test_a_refusal_names_the_parameter_that_sets_the_input(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, sampled())
    fault = {"type": "value_bigger_than_max", "message": "too big", "extra_info": {"input_name": "cfg"}}
    simulated.refuse({"3": {"class_type": "KSampler", "errors": [fault]}})
    with pytest.raises(BadRequest) as refused:
        backend.submit(asked(backend))
    assert refused.value.next_step == "Change `cfg_scale`"


@pytest.mark.parametrize("cached", [True, False])
def test_definitions_that_are_at_hand_sharpen_the_graph_and_are_not_asked_for(
    simulated: SimulatedServer, clock: FakeClock, cached: bool
) -> None:
    """Only they tell that the server spells a file with another kind of slash."""
    simulated.nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["sub\\fox.safetensors"], {}]
    backend = without_socket(clock, sampled(ckpt_name="sub/fox.safetensors"))
    if cached:
        without_socket(clock, sampled()).learn(backend.within(5))
        simulated.asked.clear()
    backend.submit(asked(backend))
    spelled = "sub\\fox.safetensors" if cached else "sub/fox.safetensors"
    assert sent(simulated)["4"]["inputs"]["ckpt_name"] == spelled
    assert simulated.asked == []


def test_definitions_that_a_form_was_learned_with_are_kept(simulated: SimulatedServer, clock: FakeClock) -> None:
    """Some may have left the cache since."""
    simulated.nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["sub\\fox.safetensors"], {}]
    backend = without_socket(clock, sampled(ckpt_name="sub/fox.safetensors"))
    backend.learn(backend.within(5))
    clock.time += 301
    assert backend.definitions.fetched(["SaveImage"], backend.within(5)).classes.keys() == {"SaveImage"}
    backend.submit(asked(backend))
    assert sent(simulated)["4"]["inputs"]["ckpt_name"] == "sub\\fox.safetensors"


# --- when a form is saved or shown ---


def test_a_form_is_learned_from_the_servers_nodes(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = without_socket(clock, EDITOR)
    rules = {rule.name: rule for rule in backend.live_form(backend.within(5))}
    assert "KSampler" in simulated.asked
    assert "steps" in rules
    assert rules.keys() == {rule.name for rule in backend.rules()}


def test_a_shipped_model_learns_nothing(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = shipped(clock)
    backend.learn(backend.within(5))
    assert list(backend.findings()) == []
    assert simulated.asked == []


def test_a_second_workflow_that_cannot_be_learned_stops_no_form(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = pair(clock, sampled(), "{")
    backend.learn(backend.within(5))
    with pytest.raises(BadRequest):
        pair(clock, EDITOR, sampled(), "0").workflow.choose(ImageRequest(model="x", prompt="a fox"))


def test_both_workflows_are_learned(simulated: SimulatedServer, clock: FakeClock) -> None:
    backend = pair(clock, sampled(), EDITOR)
    backend.learn(backend.within(5))
    assert backend.canary is not None
    assert backend.canary.readable is not None


def test_findings_tell_both_workflows_apart(simulated: SimulatedServer, clock: FakeClock) -> None:
    told = list(pair(clock, sampled(), slow(), "5").findings())
    second = [sentence for sentence in told if sentence.startswith("second workflow: ")]
    first = list(without_socket(clock, sampled()).findings())
    assert [*first, *second] == told
    assert [f"second workflow: {one}" for one in without_socket(clock, slow()).findings()] == second
    bare = comfyui("foxes", {"backend": "comfyui", "base_url": "http://comfy.test"}, clock)
    assert list(bare.findings()) == []


@pytest.mark.parametrize(
    ("percent", "second", "said"),
    [
        ("20", "", "has a share of requests for a second workflow, and not both workflows"),
        ("", "", ""),
        ("0", "", ""),
        ("20", json.dumps(sampled()), ""),
        ("", json.dumps(sampled(ckpt_name="other.safetensors")), "other.safetensors"),
    ],
)
def test_saving_checks_both_workflows_and_the_share(
    simulated: SimulatedServer, clock: FakeClock, percent: str, second: str, said: str
) -> None:
    backend = without_socket(clock, sampled(), canary_workflow=second, canary_percent=percent)
    if said:
        with pytest.raises(BadRequest, match=said):
            backend.check_workflows()
    else:
        backend.check_workflows()
        assert list(backend.check_access()) == ["ComfyUI 0.10.0"]


def test_a_server_that_cannot_be_asked_fails_the_check(simulated: SimulatedServer, clock: FakeClock) -> None:
    simulated.dumb = ConnectionFailed("x", "off")
    with pytest.raises(ConnectionFailed):
        without_socket(clock, sampled()).check_workflows()


def test_an_address_with_a_query_is_refused(clock: FakeClock) -> None:
    backend = comfyui("comfyui-sdxl", {"comfyui_base_url": "http://comfy.test/?token=secret-token"}, clock)
    with pytest.raises(BadRequest, match=r"Remove what follows the question mark") as refused:
        backend.require_access()
    assert "secret-token" not in str(refused.value)
    shipped(clock).require_access()
