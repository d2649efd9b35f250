"""Which model answers: `auto` and `fallback`, in one call and in polling, with services that fail in every way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from dify_plugin.entities.model.message import ImagePromptMessageContent

from models import stages
from models.backends.auto import Auto
from models.backends.base import Backend, Capabilities
from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ImageError, RateLimited
from models.backends.errors import ServerUnavailable as Unavailable
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, ParameterValue
from models.pipeline import Asked, Call, Finished, Waiting
from models.request.build import Wanted
from models.request.conversation import Conversation
from models.routing import ModelRoute, RoutePlan
from models.settings import Settings
from models.stages.audit import Receipt
from tests.asking import bound
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.stability import FakeStability
from tests.stubs import StubBackend, StubJobs

FILLED = {"stability_api_key": MARKER_KEY, "comfyui_base_url": "http://127.0.0.1:9"}
PART = ImagePromptMessageContent(
    format="png", mime_type="image/png", base64_data=InputImage(image_file(), "image/png").base64
)


class FailingBackend(StubBackend):
    """Raises one error for every request."""

    def __init__(self, clock: FakeClock, error: ImageError, *, charges: bool = True, able: int = 0) -> None:
        super().__init__(clock, able=Capabilities(images=able))
        self.error = error
        self.charges = charges  # type: ignore[misc]

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        super()._generate(request, deadline)
        raise self.error


class OwnJobs(StubJobs):
    """Jobs of a server that costs nothing."""

    charges = False


class ChargedJobs(StubJobs):
    """Jobs whose service says whether it could cancel them."""

    def __init__(self, clock: FakeClock, *, takes: float, free: bool, refuses: bool = False) -> None:
        super().__init__(clock, takes=takes)
        self.free_to_cancel = free  # type: ignore[misc]
        self.refuses = refuses

    def cancel(self, job: dict[str, Any]) -> None:
        if self.refuses:
            raise BadRequest("Cancelling failed", "the job runs already")
        super().cancel(job)


def undone(error: ImageError) -> ImageError:
    error.undone = True
    return error


UNREACHED = ConnectionFailed("Generating with Stub failed", "the host could not be reached")
MAYBE_MADE = ConnectionFailed("Generating with Stub failed", "the connection was lost", "Check Stub")


def call(backend: Backend, **credentials: object) -> Call:
    return Call(backend, Settings(credentials, {}))


def asked(
    prompt: str = "a fox", *, images: Sequence[ImagePromptMessageContent] = (), schema: object = None, **node: object
) -> Asked:
    return Asked(Conversation(prompt, tuple(images)), node, schema)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    receipts: list[Receipt] = []
    monkeypatch.setattr(stages, "observers", lambda _: [receipts.append])
    return receipts


def polled(
    backend: Backend, request: Asked, other: Backend | None = None, form: Mapping[str, object] | None = None
) -> Finished:
    """The end of a polled request; each check is answered by another process, perhaps with another backend object."""
    credentials = form or {}
    outcome = call(backend, **credentials).start(request)
    while isinstance(outcome, Waiting):
        backend.clock.sleep(outcome.next_check)
        state = json.loads(json.dumps(outcome.state))
        assert MARKER_KEY not in json.dumps(state)
        outcome = call(other or backend, **credentials).check(state)
    return outcome


# --- fallback in one call ----------------------------------------------------------------------------------------------


def test_another_model_answers_for_a_service_that_is_not_reached(clock: FakeClock, told: list[Receipt]) -> None:
    done = call(FailingBackend(clock, undone(UNREACHED))).generate(asked(fallback="preview", seed=7))
    assert (done.result.model, done.result.answered_by, done.result.backend) == ("stub-model", "preview", "preview")
    assert done.result.images[0].seed == 7
    assert done.result.notices == (
        "stub-model did not answer (the host could not be reached).",
        "preview answered in place of stub-model.",
    )
    assert [(one.model, one.answered_by, one.backend, one.outcome) for one in told] == [
        ("stub-model", "preview", "preview", "succeeded")
    ]


def test_a_model_that_answers_itself_is_named(clock: FakeClock) -> None:
    result = call(StubBackend(clock)).generate(asked(fallback="preview")).result
    assert (result.model, result.answered_by, result.notices) == ("stub-model", "stub-model", ())


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("Generating failed", "HTTP 402, no credit"),
        undone(Unavailable("Generating failed", "HTTP 503, overloaded")),
    ],
)
def test_no_credit_and_an_overload_let_the_next_model_answer(clock: FakeClock, error: ImageError) -> None:
    result = call(FailingBackend(clock, error)).generate(asked(fallback="preview")).result
    assert result.answered_by == "preview"


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("Generating failed", "the content filter refused the prompt"),
        AuthorizationFailed("Generating failed", "the key is wrong"),
        MAYBE_MADE,
        Unavailable("Generating failed", "success without an image", "It may have been billed"),
    ],
)
def test_what_may_be_billed_or_is_refused_stays_an_error(clock: FakeClock, error: ImageError) -> None:
    with pytest.raises(type(error)) as raised:
        call(FailingBackend(clock, error)).generate(asked(fallback="preview"))
    assert raised.value is error
    assert "preview" not in str(error)


def test_trouble_with_a_server_of_ones_own_costs_nothing(clock: FakeClock) -> None:
    backend = FailingBackend(clock, MAYBE_MADE, charges=False)
    assert call(backend).generate(asked(fallback="preview")).result.answered_by == "preview"


def test_an_empty_field_leaves_a_model_out_and_is_told(clock: FakeClock) -> None:
    backend = FailingBackend(clock, undone(UNREACHED))
    result = call(backend).generate(asked(fallback="qwen-image-2.0, preview")).result
    assert result.answered_by == "preview"
    assert "(dashscope_api_key) in the provider's settings" in result.notices[1]
    assert result.notices[1].startswith("qwen-image-2.0 was left out: ")


def test_with_nobody_left_the_last_error_tells_of_the_others(clock: FakeClock) -> None:
    backend = FailingBackend(clock, undone(ConnectionFailed("Generating failed", "not reached", "Check the address")))
    with pytest.raises(ConnectionFailed) as raised:
        call(backend).generate(asked(fallback="qwen-image-2.0"))
    said = str(raised.value)
    assert said.startswith(
        "Generating failed: not reached. Check the address. stub-model did not answer (not reached)."
    )
    assert "qwen-image-2.0 was left out" in said


@pytest.mark.parametrize(
    ("names", "limits", "sentence"),
    [
        ("qwen-image-9", "", "`fallback` names 'qwen-image-9', which is no predefined model. Choose from qwen-image-"),
        ("auto", "", "`fallback` names 'auto', which is no predefined model"),
        (
            "preview",
            "models sd3.5-large",
            "`fallback` names preview, which is not allowed here. Choose from sd3.5-large",
        ),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_first(clock: FakeClock, names: str, limits: str, sentence: str) -> None:
    backend = StubBackend(clock)
    with pytest.raises(BadRequest) as refusal:
        call(backend, limits=limits).generate(asked(fallback=names))
    assert sentence in str(refusal.value)
    assert backend.asked == []


def test_a_prompt_cannot_name_a_fallback(clock: FakeClock) -> None:
    result = call(StubBackend(clock)).generate(asked("a fox --fallback preview")).result
    assert result.notices == ("`--fallback preview` was ignored: only the node sets it.",)


def test_the_request_is_settled_anew_from_what_was_asked_for(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL has nine sizes; the asked 1000x1000 was no size of the first model either."""
    made: list[ImageRequest] = []
    sdxl = bound("stable-diffusion-xl", FILLED, clock)

    def generated(request: ImageRequest, _: Deadline) -> ImageResult:
        made.append(request)
        return sdxl.result(request, [GeneratedImage(image_file())])

    monkeypatch.setattr("models.backends.stability.Stability._generate", lambda _, *given: generated(*given))
    request = asked(fallback="stable-diffusion-xl", width=1500, height=640, seed=9, n=2, output_format="webp")
    done = call(FailingBackend(clock, undone(UNREACHED)), **FILLED).generate(request)
    assert (made[0].size, made[0].seeds, made[0].n) == ((1536, 640), (9, 10), 2)
    assert "The size 1500×640 became 1536×640, the nearest that stable-diffusion-xl makes." in done.result.notices
    assert done.result.price is not None
    assert done.options.output_format == "webp"


def test_the_owners_limits_hold_for_every_model(clock: FakeClock) -> None:
    """The preview keeps the 100 pixels that the stub was asked for; SDXL makes a megapixel at least."""
    request = asked(fallback="stable-diffusion-xl, preview", width=100, height=100)
    form = {**FILLED, "limits": "megapixels 0.5"}
    result = call(FailingBackend(clock, undone(UNREACHED)), **form).generate(request).result
    assert result.answered_by == "preview"
    assert any("stable-diffusion-xl was left out: An image of" in notice for notice in result.notices)


def test_a_model_that_takes_no_images_is_left_out(clock: FakeClock) -> None:
    backend = FailingBackend(clock, undone(UNREACHED), able=1)
    result = call(backend, **FILLED).generate(asked(images=[PART], fallback="stable-image-core preview")).result
    assert result.answered_by == "preview"
    assert "stable-image-core was left out: stable-image-core does not support input images." in result.notices[1]


def test_a_model_that_cannot_give_what_the_schema_requires_is_left_out(clock: FakeClock) -> None:
    schema = {"properties": {"answered_by": {"type": "string"}, "backend": {"const": "stub"}}, "required": ["backend"]}
    with pytest.raises(ConnectionFailed, match="preview was left out: The node's structured output requires `backend`"):
        call(FailingBackend(clock, undone(UNREACHED))).generate(asked(fallback="preview", schema=schema))


def test_a_customizable_model_whose_server_cannot_be_asked_falls_back_to_the_preview(clock: FakeClock) -> None:
    form = {"backend": "openai_images", "base_url": "http://127.0.0.1:9"}
    done = Call.of("mine", form, None, clock).generate(asked(fallback="preview"))
    assert (done.result.model, done.result.answered_by) == ("mine", "preview")


def test_a_customizable_model_reaches_services_of_the_environment_only(clock: FakeClock) -> None:
    own = {"backend": "openai_images", "base_url": "http://127.0.0.1:9"}
    request = asked(fallback="qwen-image-2.0 sd3.5-large")
    with FakeStability(key=MARKER_KEY) as fake:
        environment = {
            "IMAGE_GENERATION_STABILITY_API_KEY": MARKER_KEY,
            "IMAGE_GENERATION_STABILITY_BASE_URL": fake.url,
        }
        backend = FailingBackend(clock, undone(UNREACHED))
        result = Call(backend, Settings(own, environment)).generate(request).result
        assert MARKER_KEY in Settings(own, environment).secrets
    assert result.answered_by == "sd3.5-large"
    assert "the form of stub-model does not reach the provider's settings" in " ".join(result.notices)
    with pytest.raises(ConnectionFailed, match="no environment variable fills its service"):
        Call(FailingBackend(clock, undone(UNREACHED)), Settings(own, {})).generate(request)


@pytest.mark.parametrize(("wanted", "checkpoint"), [("automatic1111", "a.safetensors"), ("comfyui-sdxl", None)])
def test_the_name_of_a_file_goes_to_the_model_that_it_was_given_for(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, wanted: str, checkpoint: str | None
) -> None:
    monkeypatch.setattr("models.backends.automatic1111.Automatic1111.learn", lambda *_: None)
    values: dict[str, ParameterValue] = {"checkpoint": "a.safetensors"}
    plan = RoutePlan(wanted=Wanted(model=wanted, prompt="a fox", values=values), left=("automatic1111",))
    form = Settings({"automatic1111_base_url": "http://127.0.0.1:9"}, {})
    backend = StubBackend(clock)
    route = ModelRoute(backend, form, Conversation("a fox"), None, plan)
    found = route.after(undone(UNREACHED), backend, 100, lambda candidate: candidate.request)
    assert (found.backend.model.name, found.request.checkpoint) == ("automatic1111", checkpoint)


# --- turns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "remaining", "share"),
    [
        ((), 590, 590),
        (("preview",), 590, 585),
        (("sd3.5-large",), 590, 295),
        (("sd3.5-large", "preview"), 605, 300),
        (("sd3.5-large", "sd3.5-medium"), 15, 10),
        (("sd3.5-large",), 4, 4),
    ],
)
def test_each_model_has_an_equal_share_of_what_is_left(left: tuple[str, ...], remaining: float, share: float) -> None:
    plan = RoutePlan(wanted=Wanted(model="m", prompt="p", values={}), left=left)
    assert ModelRoute(bound("preview", {}), Settings({}, {}), Conversation("p"), None, plan).share(remaining) == share


@pytest.mark.parametrize("way", ["direct", "polled"])
def test_a_job_past_its_share_is_cancelled_before_the_next_model_is_asked(clock: FakeClock, way: str) -> None:
    backend = OwnJobs(clock, takes=1000)
    request, began = asked(fallback="preview", timeout=105), clock.now()
    done = call(backend).generate(request) if way == "direct" else polled(backend, request)
    assert done.result.answered_by == "preview"
    assert len(backend.cancelled) == 1
    assert 100 <= clock.now() - began < 106
    assert "its share of the time limit has passed; last known state: step 12/30" in str(done.result.notices)


@pytest.mark.parametrize("way", ["direct", "polled"])
@pytest.mark.parametrize("refuses", [True, False])
def test_a_charged_job_that_cannot_be_cancelled_for_sure_keeps_the_time(
    clock: FakeClock, way: str, *, refuses: bool
) -> None:
    backend = ChargedJobs(clock, takes=80, free=refuses, refuses=refuses)
    request = asked(fallback="sd3.5-large", timeout=100)
    done = call(backend, **FILLED).generate(request) if way == "direct" else polled(backend, request, form=FILLED)
    assert (done.result.answered_by, done.result.images[0].seed, backend.cancelled) == ("stub-model", 7, [])


def test_a_charged_job_that_was_still_queued_makes_room(clock: FakeClock) -> None:
    backend = ChargedJobs(clock, takes=80, free=True)
    assert call(backend).generate(asked(fallback="preview", timeout=50)).result.answered_by == "preview"
    assert backend.cancelled


# --- polling -----------------------------------------------------------------------------------------------------------


def test_a_polled_job_that_fails_is_given_to_the_next_model_by_another_process(clock: FakeClock) -> None:
    backend = OwnJobs(clock, takes=30)
    broken = OwnJobs(clock, takes=30, troubles=[Unavailable("Generating failed", "out of memory")])
    request = asked("a fox --seed 5", fallback="preview", details=True, width=64, height=64)
    done = polled(backend, request, other=broken)
    assert (done.result.answered_by, done.result.images[0].seed, done.options.details) == ("preview", 5, True)
    assert done.result.images[0].size == (64, 64)
    assert done.result.prompt == "a fox"


def test_a_job_of_the_next_model_goes_on_in_further_processes(clock: FakeClock) -> None:
    backend = FailingBackend(clock, undone(UNREACHED))
    started = call(Auto.bind("auto", Settings({}, {}), clock)).start(asked(simulate_seconds=20))
    assert isinstance(started, Finished), "a parameter of the preview alone is none of `auto`"
    slow = bound("preview", {}, clock)
    outcome = call(slow).start(asked(simulate_seconds=20, fallback="sd3.5-large"))
    assert isinstance(outcome, Waiting)
    outcome.state["carried"]["receipt"]["model"] = "stub-model"  # type: ignore[call-overload, index]
    clock.sleep(20)
    done = call(backend).check(json.loads(json.dumps(outcome.state)))
    assert isinstance(done, Finished)
    assert (done.result.model, done.result.answered_by) == ("stub-model", "preview")


def test_an_accepted_job_with_input_images_stays_where_it_is(clock: FakeClock) -> None:
    class Editing(OwnJobs):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(images=2)

    backend = Editing(clock, takes=30, troubles=[])
    started = call(backend).start(asked(images=[PART], fallback="preview"))
    assert isinstance(started, Waiting)
    assert started.state["plan"] is None
    assert PART.base64_data[:40] not in json.dumps(started.state)
    backend.troubles = [Unavailable("Generating failed", "out of memory")]
    with pytest.raises(Unavailable):
        call(backend).check(started.state)


def test_before_it_is_accepted_a_request_with_images_is_given_on(clock: FakeClock) -> None:
    backend = FailingBackend(clock, undone(UNREACHED), able=1)
    done = call(backend).start(asked(images=[PART], fallback="preview"))
    assert isinstance(done, Finished)
    assert done.result.answered_by == "preview"


# --- auto --------------------------------------------------------------------------------------------------------------


def auto(clock: FakeClock, **form: object) -> Call:
    return Call.of("auto", form, None, clock)


def test_without_a_service_the_preview_answers(clock: FakeClock) -> None:
    result = auto(clock).generate(asked(steps=30)).result
    assert (result.model, result.answered_by, result.backend) == ("auto", "preview", "preview")
    assert result.notices == (
        "preview was chosen, as no service is filled in the provider's settings.",
        "preview has no `steps`: not used.",
    )


@pytest.mark.parametrize(
    ("prompt", "node", "model"),
    [
        ("a fox", {"model": "preview"}, "preview"),
        ("a fox --model preview", {}, "preview"),
        ("a fox --model preview", {"model": "sd3.5-large", "directives": "look"}, "preview"),
        ("a fox --model Preview", {"directives": "all"}, "preview"),
        ("a fox --model sd3.5-large", {"model": "preview", "directives": "off"}, "preview"),
    ],
)
def test_parameter_and_directive_name_the_model(
    clock: FakeClock, prompt: str, node: dict[str, object], model: str
) -> None:
    assert auto(clock, **FILLED).generate(Asked(Conversation(prompt), node)).result.answered_by == model


@pytest.mark.parametrize(
    ("form", "images", "model"),
    [
        ({}, False, "preview"),
        (FILLED, False, "stable-image-core"),
        (FILLED, True, "stable-image-ultra"),
        ({"comfyui_base_url": "http://127.0.0.1:9"}, False, "comfyui-sdxl"),
        ({"dashscope_api_key": "sk", "comfyui_base_url": "http://127.0.0.1:9"}, False, "qwen-image-2.0"),
        ({**FILLED, "limits": "models comfyui-flux sd3.5-medium"}, False, "sd3.5-medium"),
    ],
)
def test_the_default_is_the_first_model_whose_service_is_filled(
    form: dict[str, object], model: str, *, images: bool
) -> None:
    backend = Auto.bind("auto", Settings(form, {}))
    assert isinstance(backend, Auto)
    assert backend.default_model(with_images=images) == model


def test_a_model_without_its_key_names_the_field(clock: FakeClock) -> None:
    with pytest.raises(BadRequest, match=r"qwen-image-2\.0 needs .* Fill “.*” \(dashscope_api_key\)"):
        auto(clock, **FILLED).generate(asked(model="qwen-image-2.0"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("midjourney", "`model` names 'midjourney', which is no predefined model. Choose from "),
        ("auto", "which is no predefined model"),
        (
            "sd3.5-large",
            "`model` names sd3.5-large, which is not allowed here. Choose from preview, or let the owner change",
        ),
        ("preview preview2", "`model` names 'preview2'"),
    ],
)
def test_a_model_that_may_not_be_named_is_refused(clock: FakeClock, name: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        auto(clock, **FILLED, limits="models preview").generate(asked(model=name))
    assert sentence in str(refusal.value)


def test_no_other_model_takes_the_directive(clock: FakeClock) -> None:
    result = call(StubBackend(clock)).generate(asked("a fox --model preview --seed 7")).result
    assert (result.answered_by, result.prompt) == ("stub-model", "a fox --model preview")


def test_the_form_of_auto_follows_the_providers_form(clock: FakeClock) -> None:
    deadline = Deadline.after(clock, 3)
    for form, options, images in (
        ({}, ("preview",), True),
        ({"stability_api_key": "sk", "limits": "models stable-image-core"}, ("stable-image-core", "preview"), False),
        (
            {"comfyui_base_url": "http://127.0.0.1:9"},
            ("comfyui-sdxl", "comfyui-flux", "comfyui-qwen-image", "comfyui-qwen-image-edit", "preview"),
            True,
        ),
    ):
        backend = bound("auto", form)
        rule = next(rule for rule in backend.live_form(deadline) if rule.name == "model")
        assert (rule.options, backend.capabilities.images > 0) == (options, images)


def test_auto_falls_back_as_well(clock: FakeClock) -> None:
    form = {"comfyui_base_url": "http://127.0.0.1:9"}
    result = auto(clock, **form).generate(asked(fallback="preview", sampler="Euler a")).result
    assert (result.model, result.answered_by) == ("auto", "preview")
    assert "comfyui-sdxl did not answer (127.0.0.1:9 could not be reached)." in result.notices
