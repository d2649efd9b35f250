"""Servers with the OpenAI images API through the plugin process, as customizable models."""

import json
from collections.abc import Iterator

import pytest

from models.images.sniff import sniff
from sandbox import Host, PluginError
from sandbox.protocol import image_part, user
from tests.asking import rules_of
from tests.fakes import MARKER_KEY, image_file
from tests.servers.openai_images import FakeOpenAIImages, Fault

GENERATORS = {
    "openai": "gpt-image-1.5",
    "vllm_omni": "Qwen/Qwen-Image",
    "sglang": "Qwen/Qwen-Image",
    "xinference": "Qwen-Image",
    "localai": "stablediffusion",
    "sdcpp": "sd-cpp-local",
    "siliconflow": "Qwen/Qwen-Image",
}
EDITORS = {
    "openai": "gpt-image-1.5",
    "vllm_omni": "Qwen/Qwen-Image-Edit-2509",
    "sglang": "Qwen/Qwen-Image-Edit-2509",
    "xinference": "Qwen-Image-Edit-2509",
    "localai": "qwen-image-edit",
    "sdcpp": "sd-cpp-local",
    "siliconflow": "Qwen/Qwen-Image-Edit-2509",
}
MASK = image_file(64, 48, mode="L", colour=255)
RECOGNISED = ("vllm_omni", "sglang", "xinference", "localai", "sdcpp")

GREY = image_file(64, 48, colour=(90, 90, 90))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host
        # No log line of this module contains a key.
        process = host.process(0)
        assert MARKER_KEY not in "\n".join(process.log_messages) + process.stderr_tail


def form(server: FakeOpenAIImages, dialect: str, model: str) -> dict[str, str]:
    return {
        "backend": "openai_images",
        "base_url": f"{server.url}/v1",
        "api_key": MARKER_KEY,
        "dialect": dialect,
        "remote_model": model,
    }


def details_of(text: str) -> dict[str, object]:
    found = json.loads(text.partition("\n")[0])
    assert isinstance(found, dict)
    return found


def no_key_in(value: object) -> None:
    assert MARKER_KEY not in repr(value)
    assert MARKER_KEY[8:24] not in repr(value)


@pytest.mark.parametrize("dialect", sorted(GENERATORS))
def test_each_dialect_generates_by_invoke_and_by_polling(host: Host, dialect: str) -> None:
    with FakeOpenAIImages(dialect, key=MARKER_KEY) as server:
        credentials = form(server, dialect, GENERATORS[dialect])
        parameters = {"width": 1024, "height": 1024, "details": True}
        reply = host.invoke("my-painter", credentials, [user("a red bicycle")], parameters)
        polled = host.start_polling("my-painter", credentials, [user("a red bicycle")], parameters)
    assert [sniff(image.data).pixels for image in reply.images] == [1024 * 1024]
    assert polled.status == "succeeded"
    assert len(polled.images) == 1
    assert [generated.prompt.strip() for generated in server.generated] == ["a red bicycle"] * 2
    assert server.ignored == []
    told = details_of(reply.text)
    assert (told["model"], told["backend"]) == ("my-painter", "openai_images")
    assert told.get("seed") == server.generated[0].seed
    no_key_in(reply)
    no_key_in(polled)


@pytest.mark.parametrize("dialect", sorted(EDITORS))
def test_each_dialect_edits_an_image(host: Host, dialect: str) -> None:
    model = EDITORS[dialect]
    models = (model,) if dialect in {"vllm_omni", "sglang", "xinference", "siliconflow"} else ()
    photo = image_file(320, 240)
    with FakeOpenAIImages(dialect, key=MARKER_KEY, models=models) as server:
        messages = [user("make it blue", image_part(photo, filename="photo.png"))]
        reply = host.invoke("my-editor", form(server, dialect, model), messages)
    assert len(reply.images) == 1
    assert server.generated[0].images == (photo,)
    assert server.ignored == []


def test_directives_reach_the_server_under_its_own_names(host: Host) -> None:
    with FakeOpenAIImages("sdcpp", key=MARKER_KEY) as server:
        prompt = 'a fox --size 512x768 --steps 12 --cfg 6 --seed 7 --n 2 --no "text, watermark"'
        reply = host.invoke("m", form(server, "auto", "m"), [user(prompt)], {"directives": "all"})
    generated = server.generated[0]
    assert (generated.width, generated.height, generated.n) == (512, 768, 2)
    assert (generated.steps, generated.cfg, generated.seed, generated.negative) == (12, 6.0, 7, "text, watermark")
    assert len(reply.images) == 2


def test_openai_edits_with_a_mask(host: Host) -> None:
    with FakeOpenAIImages("openai", key=MARKER_KEY) as server:
        parts = (image_part(image_file(320, 240), filename="room.png"), image_part(MASK, filename="mask.png"))
        host.invoke("m", form(server, "openai", "gpt-image-1.5"), [user("a plant here", *parts)])
    assert server.generated[0].mask
    assert len(server.generated[0].images) == 1


def test_a_mask_that_would_be_ignored_is_refused_by_name(host: Host) -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY, models=(EDITORS["vllm_omni"],)) as server:
        parts = (image_part(image_file(320, 240), filename="room.png"), image_part(MASK, filename="mask.png"))
        with pytest.raises(PluginError, match="masks on vLLM-Omni"):
            host.invoke("m", form(server, "auto", EDITORS["vllm_omni"]), [user("a plant here", *parts)])
    assert server.posts == []


@pytest.mark.parametrize("dialect", RECOGNISED)
def test_saving_the_form_logs_the_detected_dialect(host: Host, dialect: str) -> None:
    with FakeOpenAIImages(dialect, key=MARKER_KEY) as server:
        host.validate_model_credentials("m", form(server, "auto", GENERATORS[dialect]))
    assert server.posts == []
    assert any(f"({dialect})" in message for message in host.process(0).log_messages)


@pytest.mark.parametrize("dialect", sorted(GENERATORS))
def test_a_form_with_a_wrong_key_is_refused_and_names_the_field(host: Host, dialect: str) -> None:
    with FakeOpenAIImages(dialect, key="another-key") as server, pytest.raises(PluginError) as caught:
        host.validate_model_credentials("m", form(server, dialect, GENERATORS[dialect]))
    assert "(api_key) in the model's settings" in caught.value.message
    no_key_in(caught.value)


def test_the_form_of_a_model_depends_on_its_server(host: Host) -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY) as server:
        schema = host.model_schema("m", form(server, "auto", "Qwen/Qwen-Image"))
    assert schema
    rules = {rule["name"]: rule for rule in rules_of(schema)}
    assert rules["steps"]["default"] == 50
    assert "vision" not in schema["features"]  # type: ignore[operator]
    no_key_in(schema)


def test_the_form_of_an_offline_server_is_fast_and_complete(host: Host) -> None:
    with FakeOpenAIImages("sdcpp") as server:
        credentials = form(server, "auto", "m")
    schema = host.model_schema("m", credentials)
    assert schema
    assert "steps" in [rule["name"] for rule in rules_of(schema)]


def test_a_refused_prompt_fails_the_job_with_a_sentence(host: Host) -> None:
    error = {"message": "Rejected by the safety system.", "type": "x", "param": None, "code": "moderation_blocked"}
    with FakeOpenAIImages("openai", key=MARKER_KEY) as server:
        server.faults.append(Fault(status=400, body={"error": error}))
        reply = host.start_polling("m", form(server, "openai", "gpt-image-1.5"), [user("x")])
    assert reply.status == "failed"
    assert "safety system" in (reply.error or "")
    assert "change it" in (reply.error or "")
    no_key_in(reply)
