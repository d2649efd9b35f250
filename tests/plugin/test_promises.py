"""The plugin as a whole, through its process: guarantees for the host and users with any model."""

import io
import itertools
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from PIL import Image
from pydantic import JsonValue

from models.catalog import cards
from models.llm.llm import FORM_SECONDS
from models.parameters import EVERY_MODEL
from sandbox import Host, protocol
from sandbox.errors import PluginError
from sandbox.protocol import image_part, user
from tests.asking import rules_of
from tests.fakes import MARKER_KEY, image_file
from tests.servers.broken import broken_server
from tests.servers.stability import FakeStability

ROOT = Path(__file__).parents[2]
MAX_LINE = 5_000_000
FIVE = {
    "InvokeAuthorizationError",
    "InvokeRateLimitError",
    "InvokeBadRequestError",
    "InvokeServerUnavailableError",
    "InvokeConnectionError",
}
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"seed": {"type": "integer"}, "image_url": {"type": "string"}, "notices": {"type": "array"}},
}

SMALL: dict[str, JsonValue] = {"width": 128, "height": 128}


@pytest.fixture
def stability() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY, balance=1e6) as fake:
        yield fake


def credentials(fake: FakeStability) -> dict[str, JsonValue]:
    return {"stability_api_key": MARKER_KEY, "stability_base_url": fake.url}


def decoded(image: protocol.Image) -> Image.Image:
    shown = Image.open(io.BytesIO(image.data))
    shown.load()
    return shown


def png_of(megabytes: float, *, noise: bool = False) -> bytes:
    """An uncompressed PNG of noise, which cannot be compressed without loss, or of one colour."""
    side = int((megabytes * 1e6 / 3) ** 0.5)
    pixels = os.urandom(side * side * 3) if noise else bytes(side * side * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def named(schema: Mapping[str, JsonValue]) -> list[JsonValue]:
    """The names of a form's parameters."""
    return [rule["name"] for rule in rules_of(schema)]


@pytest.mark.parametrize("waiting", ["", "direct", "polling"])
def test_every_predefined_model_has_a_schema_and_waiting_sets_polling(plugin: Host, waiting: str) -> None:
    for model, card in cards().items():
        schema = plugin.model_schema(model, {"waiting": waiting})
        assert schema is not None
        assert (schema["model"], schema["fetch_from"]) == (model, "predefined-model")
        vision = ["vision"] if card.vision else []
        assert schema["features"] == [*(["polling"] if waiting == "polling" else []), "structured-output", *vision]
        assert named(schema) == [rule.name for rule in (*card.rules, *EVERY_MODEL)]
        assert (schema["pricing"] is None) == (card.price_per_image is None)
        assert schema["model_properties"]


def test_waiting_in_the_form_of_a_customizable_model_sets_polling(plugin: Host) -> None:
    own: dict[str, JsonValue] = {"backend": "openai_images", "base_url": "http://127.0.0.1:9"}
    for waiting, polled in (({}, False), ({"waiting": "polling"}, True)):
        schema = plugin.model_schema("mine", {**own, **waiting})
        assert schema is not None
        assert schema["fetch_from"] == "customizable-model"
        assert ("polling" in schema["features"]) is polled  # type: ignore[operator]


@pytest.mark.parametrize(
    ("model", "form"),
    [("comfyui-sdxl", {}), ("mine", {"backend": "automatic1111", "base_url": "http://127.0.0.1:9"})],
)
def test_a_form_has_an_upper_bound_for_steps_and_none_for_the_seed(
    plugin: Host, model: str, form: dict[str, JsonValue]
) -> None:
    schema = plugin.model_schema(model, form)
    assert schema is not None
    tops = {rule["name"]: rule.get("max") for rule in rules_of(schema)}
    assert tops["seed"] is None
    assert tops["steps"] is not None


def test_the_form_of_an_offline_server_loses_only_its_options(plugin: Host) -> None:
    for form in ({"automatic1111_base_url": "http://127.0.0.1:9"}, {}):
        schema = plugin.model_schema("automatic1111", dict(form))
        assert schema is not None
        assert "sampler" in str(schema["parameter_rules"])


def test_a_silent_server_is_waited_for_once_and_its_models_keep_their_parameters(plugin: Host) -> None:
    """The page waits for a form; the server's other models do not wait again. Each of the two processes asks once."""
    asked: list[int] = []
    with broken_server() as server:
        server.silent = True
        for model in ("comfyui-sdxl", "comfyui-sdxl", "comfyui-flux", "comfyui-flux"):
            schema = plugin.model_schema(model, {"comfyui_base_url": server.url})
            assert schema is not None
            assert named(schema) == [rule.name for rule in (*cards()[model].rules, *EVERY_MODEL)]
            asked.append(len(server.requests))
    assert 0 < asked[0] < asked[1] == asked[2] == asked[3]
    assert FORM_SECONDS <= 3


def test_an_unknown_model_has_no_form(plugin: Host) -> None:
    assert plugin.model_schema("no-such-model", {}) is None


def test_an_unknown_model_is_refused_with_the_known_ones(plugin: Host) -> None:
    with pytest.raises(PluginError, match="Choose one of") as refusal:
        plugin.invoke("no-such-model", {}, [user("a fox")])
    assert refusal.value.error_type == "InvokeBadRequestError"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"cfg_scale": "much"}, "The parameter `cfg_scale` cannot be 'much'. Give a number."),
        ({"aspect_ratio": "wide"}, "The parameter `aspect_ratio` cannot be 'wide'. Give a ratio such as 16:9."),
        ({"output_quality": 0}, "The parameter `output_quality` cannot be '0'. Give a number between 1 and 100."),
    ],
)
def test_a_bad_value_is_a_sentence_not_the_sdks_bare_error(
    plugin: Host, stability: FakeStability, parameters: dict[str, JsonValue], sentence: str
) -> None:
    with pytest.raises(PluginError) as refusal:
        plugin.invoke("sd3.5-medium", credentials(stability), [user("a fox")], parameters)
    assert refusal.value.error_type == "InvokeBadRequestError"
    assert refusal.value.message.startswith(sentence)
    polled = plugin.start_polling("sd3.5-medium", credentials(stability), [user("a fox")], parameters)
    assert (polled.status, polled.error) == ("failed", refusal.value.message)
    assert not stability.requests


def test_values_of_workflow_variables_are_converted(plugin: Host, stability: FakeStability) -> None:
    for seed in (42, "42", 42.0):
        reply = plugin.invoke("sd3.5-medium", credentials(stability), [user("a fox --details")], {"seed": seed})
        assert '"seed": 42' in reply.text


def test_a_model_without_credentials_names_the_field(plugin: Host) -> None:
    with pytest.raises(
        PluginError, match=r"Fill “Stability AI API key” \(stability_api_key\) in the provider's settings"
    ):
        plugin.invoke("stable-image-core", {}, [user("a fox")])


@pytest.mark.parametrize("form", [{}, {"stability_api_key": "  ", "comfyui_base_url": " "}])
def test_an_empty_form_may_be_saved_and_unlocks_the_preview_alone(plugin: Host, form: dict[str, JsonValue]) -> None:
    plugin.validate_provider_credentials(form)
    assert len(plugin.invoke("preview", form, [user("a fox")], SMALL).images) == 1
    for model, field in (("stable-image-core", "stability_api_key"), ("comfyui-sdxl", "comfyui_base_url")):
        with pytest.raises(PluginError, match=rf"Fill “.*” \({field}\)"):
            plugin.invoke(model, form, [user("a fox")], {})


def test_invalid_limits_are_refused_on_saving(plugin: Host) -> None:
    """If they were saved, every later request would fail."""
    sentence = r"“input lots” in “Limits” \(limits\) in the (provider|model)'s settings cannot be read"
    with pytest.raises(PluginError, match=sentence):
        plugin.validate_provider_credentials({"limits": "images 4, input lots"})
    own: dict[str, JsonValue] = {"backend": "comfyui", "base_url": "http://127.0.0.1:9", "limits": "input lots"}
    with pytest.raises(PluginError, match=sentence):
        plugin.validate_model_credentials("mine", own)


def test_a_form_is_refused_with_a_sentence_for_each_service_that_fails(plugin: Host, stability: FakeStability) -> None:
    form = {**credentials(stability), "stability_api_key": "sk-wrong", "comfyui_base_url": "http://127.0.0.1:9"}
    with pytest.raises(PluginError) as refusal:
        plugin.validate_provider_credentials(form)
    assert "Stability AI: " in refusal.value.message
    assert "ComfyUI: " in refusal.value.message
    assert "(stability_api_key)" in refusal.value.message
    assert "(comfyui_base_url)" in refusal.value.message


def test_tokens_are_not_counted(plugin: Host) -> None:
    assert plugin.num_tokens("stable-image-core", {}, [user("a fox")]) == 0


def test_no_error_names_a_key_and_all_are_of_the_five(plugin: Host, stability: FakeStability) -> None:
    form = {**credentials(stability), "stability_api_key": f"{MARKER_KEY}-wrong"}
    with pytest.raises(PluginError) as refusal:
        plugin.invoke("sd3.5-medium", form, [user("a fox")])
    assert refusal.value.error_type in FIVE
    assert MARKER_KEY not in str(refusal.value.__dict__)
    for index in range(2):
        assert MARKER_KEY not in str(plugin.process(index).log_messages)


def test_a_result_of_a_hundred_megabytes_stays_below_the_hosts_limit(plugin: Host, stability: FakeStability) -> None:
    noisy, plain = png_of(9.9, noise=True), png_of(9.9)
    drawings = itertools.chain([noisy], itertools.repeat(plain))
    stability.draw = lambda *_: next(drawings)
    restarts = plugin.restarts
    reply = plugin.start_polling(
        "stable-diffusion-xl", credentials(stability), [user("a fox --details")], {"n": 10}, json_schema=SCHEMA
    )
    assert reply.status == "succeeded", reply.error
    assert reply.statistics.largest_line < MAX_LINE
    assert len(reply.images) == 10
    assert all(min(decoded(image).size) >= 256 for image in reply.images)
    assert "because one answer to Dify holds at most 5 MB" in reply.text
    assert plugin.restarts == restarts


def test_a_streaming_caller_gets_one_image_per_line(plugin: Host, stability: FakeStability) -> None:
    big = png_of(6)
    stability.draw = lambda *_: big
    reply = plugin.invoke("stable-diffusion-xl", credentials(stability), [user("a fox")], {"n": 3}, stream=True)
    assert len(reply.chunks) == 3
    assert reply.statistics.largest_line < MAX_LINE
    assert [chunk.delta.usage is not None for chunk in reply.chunks] == [False, False, True]


def test_a_stream_reports_progress_as_reasoning_text(plugin: Host) -> None:
    slow: dict[str, JsonValue] = {"details": True, "simulate_seconds": 0.5}
    told = plugin.invoke("preview", {}, [user("a fox")], {**SMALL, **slow}, stream=True).text
    assert told.startswith("<think>\nstep ")
    assert '\n</think>\n\n{"model": "preview"' in told
    at_once = plugin.invoke("preview", {}, [user("a fox")], {**SMALL, "details": True}, stream=True).text
    assert at_once.startswith('{"model": "preview"')


def test_reasoning_text_is_closed_before_an_error(plugin: Host) -> None:
    slow: dict[str, JsonValue] = {"details": True, "simulate_seconds": 30, "timeout": 1}
    told: list[str] = []
    with pytest.raises(PluginError, match="the time limit of the job has passed") as refusal:
        plugin.invoke(
            "preview",
            {},
            [user("a fox")],
            {**SMALL, **slow},
            stream=True,
            on_chunk=lambda chunk: told.append(protocol.text_of([chunk.delta.message])),
        )
    assert refusal.value.error_type == "InvokeConnectionError"
    assert "".join(told).startswith("<think>\nstep ")
    assert told[-1] == "</think>\n\n"


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("as_text", [True, False])
def test_structured_output_in_a_stream_is_the_only_text_and_images_follow(
    plugin: Host, *, wrapped: bool, as_text: bool
) -> None:
    sent: JsonValue = {"schema": SCHEMA, "name": "llm_response"} if wrapped else SCHEMA
    parameters: dict[str, JsonValue] = {
        **SMALL,
        "n": 2,
        "details": True,
        "simulate_seconds": 0.5,
        "json_schema": json.dumps(sent) if as_text else sent,
    }
    reply = plugin.invoke("preview", {}, [user("a fox --seed 7")], parameters, stream=True)
    assert reply.text.endswith("}\n\n")
    said = json.loads(reply.text)
    assert set(said) == set(SCHEMA["properties"])  # type: ignore[arg-type]
    assert (said["seed"], said["notices"]) == (7, [])
    assert said["image_url"].startswith("data:image/png;base64,")
    assert len(reply.images) == 2
    assert [len(protocol.images_of([chunk.delta.message])) for chunk in reply.chunks] == [0, 1, 1]


def test_structured_output_without_a_stream_is_its_json_alone(plugin: Host) -> None:
    parameters: dict[str, JsonValue] = {**SMALL, "details": True, "json_schema": json.dumps(SCHEMA)}
    reply = plugin.invoke("preview", {}, [user("a fox --seed 7")], parameters)
    assert json.loads(reply.text)["seed"] == 7
    assert reply.images == ()


def test_an_unsatisfiable_schema_is_refused_before_a_request(plugin: Host, stability: FakeStability) -> None:
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": {"image_url": {"type": "string"}, "revised_prompt": {"type": "string"}},
        "required": ["image_url", "revised_prompt"],
    }
    sentence = "The node's structured output requires `revised_prompt`, which sd3.5-medium cannot tell."
    with pytest.raises(PluginError, match=sentence):
        plugin.invoke(
            "sd3.5-medium", credentials(stability), [user("a fox")], {"json_schema": json.dumps(schema)}, stream=True
        )
    polled = plugin.start_polling("sd3.5-medium", credentials(stability), [user("a fox")], json_schema=schema)
    assert polled.error is not None
    assert polled.error.startswith(sentence)
    assert not stability.requests


def test_a_key_removed_during_a_job_is_named(plugin: Host) -> None:
    reply = plugin.check_polling("qwen-image-plus", {}, {"job": {"id": "x"}})
    assert reply.status == "failed"
    assert "(dashscope_api_key) in the provider's settings" in (reply.error or "")


def test_concurrent_users_get_their_own_results(plugin: Host, stability: FakeStability) -> None:
    seeds: dict[int, str] = {}

    def ask(seed: int) -> None:
        reply = plugin.invoke("sd3.5-medium", credentials(stability), [user(f"fox {seed} --details --seed {seed}")])
        seeds[seed] = reply.text

    workers = [threading.Thread(target=ask, args=(seed,)) for seed in range(1, 41)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(seeds) == 40
    assert all(f'"seed": {seed},' in text for seed, text in seeds.items())


def test_an_input_image_reaches_the_service(plugin: Host, stability: FakeStability) -> None:
    plugin.invoke(
        "sd3.5-medium",
        credentials(stability),
        [user(image_part(image_file(256, 256)), "make it blue --strength 0.4")],
    )
    assert b"make it blue" in stability.requests[-1].body


def test_a_job_survives_a_kill_between_start_and_check() -> None:
    """A new process finishes a job from its state with the same bytes."""
    fox = [user("一只红狐狸 --seed 42")]
    with Host(plugin_dir=ROOT) as host:
        started = host.start_polling("preview", {}, fox, {"simulate_seconds": 2})
        assert started.status == "running", started.error
        host.kill()
        reply = host.check_polling("preview", {}, started.plugin_state or {})
        assert host.restarts == 1
        while reply.status == "running":
            reply = host.check_polling("preview", {}, reply.plugin_state or {})
        at_once = host.invoke("preview", {}, fox)
    assert reply.status == "succeeded", reply.error
    assert reply.images[0].data == at_once.images[0].data


def test_two_hundred_waiting_jobs_use_no_extra_threads(plugin: Host) -> None:
    images: list[int] = []

    def start() -> None:
        reply = plugin.invoke("preview", {}, [user("a fox")], {**SMALL, "simulate_seconds": 3}, stream=True)
        images.append(len(reply.images))

    workers = [threading.Thread(target=start) for _ in range(200)]
    for worker in workers:
        worker.start()
    most = 0
    while any(worker.is_alive() for worker in workers):
        most = max(most, *(psutil.Process(plugin.process(index).pid).num_threads() for index in range(2)))
        workers[-1].join(0.2)
    assert images == [1] * 200
    assert most < 20


def test_a_polling_call_is_answered_within_about_a_second(plugin: Host) -> None:
    started = plugin.start_polling("preview", {}, [user("a fox")], {**SMALL, "simulate_seconds": 20})
    checked = plugin.check_polling("preview", {}, started.plugin_state or {})
    for reply in (started, checked):
        assert (reply.status, reply.next_check_after_seconds) == ("running", 3)
        assert reply.statistics.seconds < 1.6
