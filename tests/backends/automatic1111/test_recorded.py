"""Parses every recorded exchange with a real A1111 1.10.1 and a real Forge."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from models.backends.automatic1111.build import Generation, Options, ResolvedNames
from models.backends.automatic1111.job import ServerProgress, ServerSettings, TaskProgress
from models.backends.automatic1111.results import (
    Generated,
    Info,
    Upscaled,
    check_checkpoint,
    differences,
    explained,
    generated_images,
    infotexts,
)
from models.backends.automatic1111.server_lists import LISTS as KNOWN_LISTS
from models.backends.automatic1111.server_lists import Name, lookup, read_list
from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, ServerUnavailable
from models.backends.images import image_bytes
from models.backends.reply import Reply, parse
from models.entities import GeneratedImage
from models.settings import Access
from tests.servers.automatic1111_recorded import RECORDED, STAND_IN, Exchange, one

ACCESS = Access(prefix="automatic1111")

LISTS = {known.route: name for name, known in KNOWN_LISTS.items()}
NEVER_ASKED = {
    "/app_id",
    "/internal/pending-tasks",
    "/sdapi/v1/cmd-flags",
    "/sdapi/v1/extensions",
    "/sdapi/v1/extra-batch-images",
    "/sdapi/v1/face-restorers",
    "/sdapi/v1/hypernetworks",
    "/sdapi/v1/memory",
    "/sdapi/v1/png-info",
    "/sdapi/v1/realesrgan-models",
    "/sdapi/v1/refresh-checkpoints",
    "/sdapi/v1/refresh-embeddings",
    "/sdapi/v1/refresh-loras",
    "/sdapi/v1/refresh-vae",
    "/sdapi/v1/reload-checkpoint",
    "/sdapi/v1/skip",
    "/sdapi/v1/unload-checkpoint",
}


def recorded(*paths: str, ok: bool = True) -> list[Any]:
    return [pytest.param(e, id=str(e)) for e in RECORDED if e.path in paths and e.reply.ok is ok]


def test_the_recordings_cover_both_servers_and_every_reply_is_parsed() -> None:
    generations = {"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image"}
    others = {"/sdapi/v1/progress", "/internal/progress", "/internal/ping", "/sdapi/v1/interrupt", "/sdapi/v1/options"}
    read = {*generations, *LISTS, *others, *NEVER_ASKED}
    assert {e.path for e in RECORDED if e.reply.ok} <= read
    assert {e.scenario.startswith("forge") for e in RECORDED} == {True, False}


# --- images ---


def images(generated: Generated, info: Info, count: int = 1) -> tuple[GeneratedImage, ...]:
    return generated_images(generated, info, asked_for(n_iter=count), "Generating").images


def asked_for(**fields: Any) -> Generation:
    return Generation(**{"prompt": "a fox", "width": 64, "height": 64, **fields})


@pytest.mark.parametrize("exchange", recorded("/sdapi/v1/txt2img", "/sdapi/v1/img2img"))
def test_every_recorded_generation_is_parsed(exchange: Exchange) -> None:
    generated = parse(exchange.reply, Generated, attempt="Generating")
    info = Info.read(generated.info)
    asked = exchange.asked
    count = asked.get("batch_size", 1) * asked.get("n_iter", 1)
    assert info.sampler_name
    assert info.sd_model_name == "tiny-random-sd15"
    assert info.version
    assert len(info.all_seeds) == count
    if exchange.scenario == "interrupt-n-iter":
        with pytest.raises(ServerUnavailable, match="1 of 3 images came back: the job was interrupted"):
            images(generated, info, count)
        return
    made = images(generated, info, count)
    expected = 0 if asked.get("send_images") is False else count
    assert [image.seed for image in made] == list(info.all_seeds[:expected])
    assert len(infotexts(info)) >= expected


@pytest.mark.parametrize("scenario", ["txt2img", "forge-txt2img"])
def test_a_recorded_grid_is_left_out(scenario: str) -> None:
    grid = one(scenario, "batch_size 2 with save_images")
    generated = parse(grid.reply, Generated, attempt="Generating")
    info = Info.read(generated.info)
    assert (len(grid.decoded), info.index_of_first_image) == (3, 1)
    assert [made.seed for made in images(generated, info, 2)] == [5, 6]
    assert len(infotexts(info)) == 2


@pytest.mark.parametrize("scenario", ["txt2img", "forge-txt2img", "img2img", "forge-img2img"])
def test_a_recorded_image_decodes_with_its_true_size(scenario: str) -> None:
    step = "basic raw base64" if "img2img" in scenario else "basic"
    generated = parse(one(scenario, step).reply, Generated, attempt="Generating")
    (made,) = images(generated, Info.read(generated.info))
    assert (made.mime_type, made.size, made.seed) == ("image/png", (64, 64), 5)


def test_a_recorded_jpeg_is_recognised_by_its_bytes() -> None:
    generated = parse(one("override-settings", "samples_format jpg override").reply, Generated, attempt="Generating")
    (made,) = images(generated, Info.read(generated.info))
    assert made.mime_type == "image/jpeg"


@pytest.mark.parametrize("exchange", recorded("/sdapi/v1/extra-single-image"))
def test_every_recorded_upscaling_is_parsed(exchange: Exchange) -> None:
    upscaled = parse(exchange.reply, Upscaled, attempt="Upscaling")
    assert image_bytes(upscaled.image, attempt="Upscaling").startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "%%%", base64.b64encode(b"no image").decode()])
def test_a_broken_image_is_a_server_error(text: str) -> None:
    with pytest.raises(ServerUnavailable, match="broken image"):
        image_bytes(text, attempt="Generating")


@pytest.mark.parametrize("text", [None, "", "no json", "[]", '{"all_seeds": "many"}'])
def test_an_unreadable_info_loses_only_the_seed(text: str | None) -> None:
    (made,) = images(Generated(images=(STAND_IN,), info=text), Info.read(text))
    assert made.seed is None


def test_a_null_in_the_info_is_ignored() -> None:
    info = Info.read('{"all_seeds": [5], "index_of_first_image": null, "infotexts": null, "sd_model_name": "beta"}')
    (made,) = images(Generated(images=(STAND_IN,)), info)
    assert (made.seed, info.sd_model_name) == (5, "beta")


# --- differences between request and reply ---


def test_a_reply_without_a_checkpoint_gives_a_notice() -> None:
    body = asked_for()
    assert list(differences(Info.read(""), body, Options(), ResolvedNames(checkpoint=Name("beta")))) == [
        "The server does not report which checkpoint it used; beta was requested."
    ]


@pytest.mark.parametrize("scenario", ["txt2img", "forge-txt2img"])
@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("basic", []),
        ("sampler and scheduler", []),
        ("unknown sampler", ["The server used the sampler DPM++ 2M instead of No Such Sampler."]),
        ("sampler alias k_euler", ["The server used the sampler DPM++ 2M instead of k_euler."]),
        ("unknown scheduler", ["The server used the scheduler Automatic instead of No Such Scheduler."]),
    ],
)
def test_silent_replacements_give_a_notice(scenario: str, step: str, told: list[str]) -> None:
    exchange = one(scenario, step)
    info = Info.read(parse(exchange.reply, Generated, attempt="Generating").info)
    fields = {name: exchange.asked[name] for name in ("sampler_name", "scheduler") if name in exchange.asked}
    body = asked_for(**fields)
    assert list(differences(info, body, Options(), ResolvedNames())) == told


@pytest.mark.parametrize("scenario", ["override-settings", "forge-override-settings"])
def test_only_an_ignored_checkpoint_is_an_error(scenario: str) -> None:
    ignored = parse(one(scenario, "override model that does not exist").reply, Generated, attempt="Generating")
    with pytest.raises(ServerUnavailable, match="used the checkpoint tiny-random-sd15 instead of no-such-model"):
        check_checkpoint(Info.read(ignored.info), ResolvedNames(checkpoint=Name("no-such-model")), "Generating")
    honoured = Info.read(parse(one(scenario, "override known model").reply, Generated, attempt="Generating").info)
    check_checkpoint(honoured, ResolvedNames(checkpoint=Name("tiny-random-sd15")), "Generating")
    body = asked_for()
    assert list(differences(honoured, body, Options(clip_skip=2), ResolvedNames())) == []
    assert list(differences(honoured, body, Options(clip_skip=3), ResolvedNames())) == [
        "The server used clip skip 2 instead of 3."
    ]


# --- lists ---


@pytest.mark.parametrize("exchange", recorded(*LISTS))
def test_every_recorded_list_is_parsed(exchange: Exchange) -> None:
    names = read_list(LISTS[exchange.path], exchange.reply.body)
    assert bool(names) == (exchange.reply.body not in (b"[]", b'{"loaded": {}, "skipped": {}}'))


@pytest.mark.parametrize("scenario", ["info", "forge-info"])
def test_recorded_names_are_found_in_every_spelling(scenario: str) -> None:
    models = read_list("checkpoints", one(scenario, "get sd-models").reply.body)
    spellings = (
        "tiny-random-sd15",
        "tiny-random-sd15.safetensors",
        "tiny-random-sd15.safetensors [5582ce9b8e]",
        "tiny-random-sd15 [5582ce9b8e]",
        "5582ce9b8e",
        "Tiny-Random-SD15",
    )
    assert {found.sent for word in spellings if (found := lookup(word, models))} == {"tiny-random-sd15"}
    samplers = read_list("samplers", one(scenario, "get samplers").reply.body)
    words = ("Euler a", "euler a", "k_euler_a", "euler_ancestral", "dpmpp_2m")
    assert [found.sent if (found := lookup(word, samplers)) else None for word in words] == [
        "Euler a",
        "Euler a",
        "Euler a",
        "Euler a",
        "DPM++ 2M",
    ]
    schedulers = read_list("schedulers", one(scenario, "get schedulers").reply.body)
    assert {
        found.sent for word in ("SGM Uniform", "sgm_uniform", "SGMUniform") if (found := lookup(word, schedulers))
    } == {"SGM Uniform"}


def test_the_headings_in_forges_styles_are_not_styles() -> None:
    names = read_list("styles", one("forge-info", "get prompt-styles").reply.body)
    assert [name.sent for name in names] == ["Kamph_Default_Negative (NO)"]


def test_a_list_of_another_shape_is_an_error() -> None:
    with pytest.raises(ServerUnavailable, match="Asking the WebUI for its checkpoints failed"):
        read_list("checkpoints", b'{"models": []}')


# --- progress ---


@pytest.mark.parametrize("exchange", recorded("/internal/progress"))
def test_every_recorded_task_state_is_parsed(exchange: Exchange) -> None:
    state = TaskProgress.model_validate_json(exchange.reply.body)
    words = {
        "internal progress running": "7 %, about 90 s left",
        "internal progress queued": "In queue: 3/3",
    }
    assert state.words == words.get(exchange.step, "")
    assert state.completed == (exchange.step == "internal progress finished")


@pytest.mark.parametrize("exchange", recorded("/sdapi/v1/progress"))
def test_every_recorded_progress_is_parsed(exchange: Exchange) -> None:
    state = ServerProgress.model_validate_json(exchange.reply.body).state
    assert state.job_timestamp
    assert state.interrupted == (exchange.scenario == "interrupt-n-iter")


def test_the_interrupted_job_is_found_by_its_timestamp() -> None:
    """`WebUIJobs.was_interrupted` requires that the progress and `info` have the same timestamp."""
    job = Info.read(
        parse(one("interrupt-n-iter", "n_iter 3 interrupted in the first").reply, Generated, attempt="").info
    )
    state = ServerProgress.model_validate_json(one("interrupt-n-iter", "progress when done").reply.body).state
    assert (state.interrupted, state.job_timestamp) == (True, job.job_timestamp)


@pytest.mark.parametrize("scenario", ["info", "forge-info"])
def test_recorded_settings_are_parsed(scenario: str) -> None:
    settings = ServerSettings.model_validate_json(one(scenario, "get options").reply.body)
    named = "tiny-random-sd15.safetensors" + (" [5582ce9b8e]" if scenario == "info" else "")
    assert settings == ServerSettings(sd_model_checkpoint=named, sd_vae="Automatic", CLIP_stop_at_last_layers=1)


# --- refusals ---

_TOLD: Mapping[str, tuple[type[ImageError], str]] = {
    "no credentials": (AuthorizationFailed, "Not authenticated"),
    "wrong password": (AuthorizationFailed, "Incorrect username or password"),
    "bearer token": (AuthorizationFailed, "Not authenticated"),
    "txt2img without credentials": (AuthorizationFailed, "Not authenticated"),
    "init_images missing": (BadRequest, "Init image not found"),
    "init image not base64": (BadRequest, "Invalid encoded image"),
    "empty image": (BadRequest, "Invalid encoded image"),
    "two init images": (BadRequest, "bad number of images passed: 2; expecting 1 or less"),
    "unknown upscaler": (BadRequest, "could not find upscaler named NoSuch"),
    "hires fix unknown upscaler": (BadRequest, "could not find upscaler named NoSuchUpscaler"),
    "unknown alwayson script": (BadRequest, "Script 'ControlNet Nope' not found"),
    "init_images as string": (BadRequest, "body.init_images: "),
    "steps as text": (BadRequest, "body.steps: "),
    "steps 0": (ServerUnavailable, "ZeroDivisionError: integer division or modulo by zero"),
    "prompt null": (ServerUnavailable, "AssertionError"),
    "override unknown key": (ServerUnavailable, "KeyError: 'no_such_option'"),
    "sd-models": (BadRequest, "Not Found"),
    "txt2img": (BadRequest, "Not Found"),
}


@pytest.mark.parametrize("exchange", [pytest.param(e, id=str(e)) for e in RECORDED if not e.reply.ok])
def test_every_recorded_refusal_has_its_class_and_the_servers_message(exchange: Exchange) -> None:
    meaning = explained(exchange.reply, ACCESS)
    error, said = _TOLD.get(exchange.step, (meaning.error, ""))
    assert meaning.error is error
    assert said in meaning.said
    assert meaning.said.startswith(f"HTTP {exchange.reply.status}")
    assert "{" not in meaning.said.replace("{'type'", ""), "raw JSON is no sentence"


@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (
            "RuntimeError",
            "Error(s) in loading state_dict for IntegratedAutoencoderKL: size mismatch for encoder.conv_out.weight",
            "same model family",
        ),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)", "same model family"),
        (
            "RuntimeError",
            "Given groups=1, weight of size [512, 16, 3, 3], expected input[1, 4, 64, 64] to have 16 channels, "
            "but got 4 channels instead",
            "same model family",
        ),
        ("AssertionError", "You do not have CLIP state dict!", "text encoders that this checkpoint needs in `vae`"),
        ("ValueError", "Failed to recognize model type!", "choose another one"),
    ],
)
@pytest.mark.parametrize("place", ["errors", "message"])
def test_incompatible_model_files_are_a_bad_request(place: str, error: str, words: str, advice: str) -> None:
    reply = Reply(500, {}, json.dumps({"error": error, "detail": "", "body": "", place: words}).encode())
    meaning = explained(reply, ACCESS)
    assert meaning.error is BadRequest
    assert words in meaning.said
    assert advice in meaning.next_step


@pytest.mark.parametrize(
    "reply",
    [
        Reply(501, {"content-type": "text/html"}, b"<html>Unsupported method ('POST')</html>"),
        Reply(404, {"content-type": "text/html"}, b"<html>Not Found</html>"),
        Reply(405, {"content-type": "text/html"}, b"<html>Method Not Allowed</html>"),
    ],
)
def test_a_server_that_is_not_a_webui_names_the_address_field(reply: Reply) -> None:
    meaning = explained(reply, ACCESS)
    assert meaning.error is BadRequest
    assert meaning.next_step.startswith(
        "Check the address in “AUTOMATIC1111 WebUI base URL” (automatic1111_base_url) in"
    )


@pytest.mark.parametrize("step", ["sd-models", "txt2img"])
def test_a_server_without_api_gives_the_start_option(step: str) -> None:
    assert "--api" in explained(one("no-api-flag", step).reply, ACCESS).next_step


@pytest.mark.parametrize("scenario", ["img2img", "forge-img2img"])
def test_a_404_for_an_image_is_not_a_missing_api(scenario: str) -> None:
    assert "--api" not in explained(one(scenario, "init_images missing").reply, ACCESS).next_step


def test_a_proxy_timeout_has_its_own_message() -> None:
    cut = Reply(504, {"content-type": "text/html"}, b"<html>504 Gateway Time-out</html>")
    meaning = explained(cut, ACCESS)
    assert (meaning.error, meaning.said) == (ServerUnavailable, "HTTP 504")
    assert "reverse proxy" in meaning.next_step


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (TaskProgress(), ""),
        (TaskProgress(queued=True), "in the server's queue"),
        (TaskProgress(queued=True, textinfo="In queue: 2/3"), "In queue: 2/3"),
        (TaskProgress(active=True), "0 %"),
        (TaskProgress(active=True, progress=0.4), "40 %"),
        (TaskProgress(active=True, progress=0.4, eta=12.3), "40 %, about 12 s left"),
    ],
)
def test_the_state_of_a_task_in_words(state: TaskProgress, words: str) -> None:
    assert state.words == words
