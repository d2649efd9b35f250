"""The detection of the dialect: a few free requests, cached, and reported in the credential check."""

import json

import pytest
import responses

from models.backends import questions
from models.backends.base import Backend
from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed
from models.backends.openai_images import OpenAIImages, detect
from models.entities import ImageResult
from models.parameters import Rule
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.openai_images import FakeOpenAIImages

HOME = "http://images.test"


def bound(address: str, model: str, dialect: str = "auto", clock: FakeClock | None = None) -> OpenAIImages:
    form = {"backend": "openai_images", "base_url": address, "api_key": MARKER_KEY, "dialect": dialect}
    backend = asking.bound(model, form, clock)
    assert isinstance(backend, OpenAIImages)
    return backend


def live(backend: OpenAIImages) -> dict[str, Rule]:
    """The form of a model, as requested by Dify."""
    return {rule.name: rule for rule in backend.live_form(backend.within(3.0))}


def listed(backend: Backend) -> list[str]:
    """The listed models of the server."""
    assert isinstance(backend, OpenAIImages)
    return [model.id for model in backend.finding.models] if backend.finding else []


def generate(backend: OpenAIImages, **parts: object) -> ImageResult:
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a fox", timeout=30.0, **parts))


def models(*cards: object) -> None:
    responses.get(f"{HOME}/v1/models", json={"object": "list", "data": list(cards)})


@pytest.mark.parametrize(
    ("dialect", "model", "tell"),
    [
        ("vllm_omni", "Qwen/Qwen-Image", "owned by vllm"),
        ("sglang", "Qwen/Qwen-Image", "owned by sglang"),
        ("xinference", "Qwen-Image", "owned by xinference"),
        ("localai", "stablediffusion", "/.well-known/localai.json"),
        ("sdcpp", "anything", "sd-cpp-local"),
    ],
)
def test_the_check_reports_the_detected_dialect_and_the_reason(dialect: str, model: str, tell: str) -> None:
    with FakeOpenAIImages(dialect, key=MARKER_KEY) as server:
        said = bound(server.url, model).check_access()
        assert f"({dialect})" in said[0]
        assert tell in said[0]
        assert server.posts == []
        assert MARKER_KEY not in " ".join(said)


def test_sdcpp_reports_its_model_samplers_and_schedulers() -> None:
    for way in ("auto", "sdcpp"):
        with FakeOpenAIImages("sdcpp", key=MARKER_KEY, root="Qwen_Image_Edit-2509-Q4_K_M") as server:
            backend = bound(server.url, "m", way)
            rules = live(backend)
            assert rules["sampler"].options == ("euler", "dpm++2m")
            assert rules["scheduler"].options == ("discrete", "karras")
            assert (backend.capabilities.min_images, backend.capabilities.images) == (1, 3)


def test_an_older_sdcpp_is_detected() -> None:
    with FakeOpenAIImages("sdcpp", key=MARKER_KEY) as server:
        server.lacks = {"/sdcpp/v1/capabilities"}
        backend = bound(server.url, "m")
        assert "(sdcpp)" in backend.check_access()[0]
        assert live(backend)["sampler"].options == ()


@responses.activate
@pytest.mark.parametrize("host", ["https://api.openai.com", "https://api.openai.com/v1"])
def test_openai_is_detected_by_its_address_without_a_request(host: str) -> None:
    backend = bound(host, "gpt-image-1.5")
    assert "quality" in [rule.name for rule in backend.rules()]
    assert backend.capabilities.images == 16
    assert len(responses.calls) == 0


@responses.activate
@pytest.mark.parametrize("host", ["api.siliconflow.cn", "api.siliconflow.com"])
def test_siliconflow_is_detected_by_its_address(host: str) -> None:
    responses.get(f"https://{host}/v1/models", json={"data": [{"id": "Qwen/Qwen-Image"}]})
    said = bound(f"https://{host}/v1", "Qwen/Qwen-Image").check_access()
    assert "(siliconflow)" in said[0]


@responses.activate
def test_an_unknown_newer_openai_model_is_treated_as_the_newest() -> None:
    backend = bound("https://api.openai.com", "brand-new-image-model")
    responses.post(
        "https://api.openai.com/v1/images/generations", status=400, json={"error": {"message": "x", "code": "y"}}
    )
    with pytest.raises(BadRequest):
        generate(backend)
    body = json.loads(responses.calls[-1].request.body or b"")
    assert "response_format" not in body
    assert body["size"] == "auto"


@responses.activate
def test_an_older_localai_is_detected_by_its_readiness_page() -> None:
    models({"id": "sd", "object": "model"})
    responses.get(f"{HOME}/.well-known/localai.json", status=404)
    responses.get(f"{HOME}/readyz", body=b"")
    assert "(localai)" in bound(HOME, "sd").check_access()[0]


@responses.activate
def test_a_web_page_for_every_path_is_not_localai() -> None:
    models({"id": "sd", "object": "model"})
    for page in (".well-known/localai.json", "readyz"):
        responses.get(f"{HOME}/{page}", body="<html></html>", content_type="text/html")
    assert "not recognised" in bound(HOME, "sd").check_access()[0]


@responses.activate
@pytest.mark.parametrize("owner", ["library", "openai", "me"])
def test_unknown_servers_get_the_common_parameters_with_a_note(owner: str) -> None:
    models({"id": "flux", "object": "model", "owned_by": owner})
    assert "choose a dialect" in bound(HOME, "flux").check_access()[0]
    assert len(responses.calls) == 1


@responses.activate
def test_a_server_without_a_model_list_is_not_refused() -> None:
    responses.get(f"{HOME}/v1/models", status=404)
    responses.get(f"{HOME}/.well-known/localai.json", status=404)
    responses.get(f"{HOME}/readyz", status=404)
    assert "not recognised" in bound(HOME, "flux").check_access()[0]


@responses.activate
@pytest.mark.parametrize("body", ["[]", "null", '{"data": null}', '{"data": [{"name": 1}]}', "<html>"])
def test_an_invalid_model_list_is_ignored(body: str) -> None:
    responses.get(f"{HOME}/v1/models", body=body)
    for page in (".well-known/localai.json", "readyz"):
        responses.get(f"{HOME}/{page}", status=404)
    assert bound(HOME, "flux").check_access()


def test_the_form_sends_one_request_and_caches_it(clock: FakeClock) -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY) as server:
        for _ in range(3):
            backend = bound(server.url, "Qwen/Qwen-Image", clock=clock)
            assert live(backend)
            assert backend.capabilities.images == 0
        assert len(server.seen) == 1
        clock.time += detect.FINDING_SECONDS + 1
        live(bound(server.url, "Qwen/Qwen-Image", clock=clock))
        assert len(server.seen) == 2


def test_an_offline_server_is_not_requested_again_for_a_while(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(detector: object, *_: object) -> None:
        asked.append(detector)
        raise ConnectionFailed("no")

    monkeypatch.setattr(detect.Detector, "ask", refuse)
    for _ in range(3):
        assert "steps" in live(bound(HOME, "x", clock=clock))
    assert len(asked) == 1
    clock.time += questions.SILENCE_SECONDS + 1
    live(bound(HOME, "x", clock=clock))
    assert len(asked) == 2


def _refused(*_: object) -> None:
    raise ConnectionFailed("off")


def test_a_request_does_not_use_a_cached_failure(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAIImages("sdcpp") as server:
        backend = bound(server.url, "x", clock=clock)
        with monkeypatch.context() as off:
            off.setattr(detect.Detector, "ask", _refused)
            live(backend)  # it was off a second ago
        assert generate(backend, seed=4).images[0].seed == 4


def test_accounts_do_not_share_cached_model_lists(clock: FakeClock) -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY, models=("secret-painter",)) as server:
        backend = bound(server.url, "x", clock=clock)
        live(backend)
        assert listed(backend) == ["secret-painter"]
        form = {"backend": "openai_images", "base_url": server.url, "api_key": "another", "dialect": "auto"}
        another = asking.bound("x", form, clock)
        another.live_form(another.within(3.0))
        assert listed(another) == []


def test_a_selected_dialect_is_used_and_a_mismatch_is_reported() -> None:
    with FakeOpenAIImages("sglang", key=MARKER_KEY) as server:
        said = bound(server.url, "Qwen/Qwen-Image", "vllm_omni").check_access()
    assert "vllm_omni (vLLM-Omni) is used as chosen, although the server looks like SGLang" in said[0]


def test_a_model_that_vllm_does_not_serve_is_refused_with_the_served_one() -> None:
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY) as server, pytest.raises(BadRequest) as caught:
        bound(server.url, "my-painter").check_access()
    assert "Qwen/Qwen-Image" in caught.value.said
    assert "(remote_model) in the model's settings" in caught.value.next_step


def test_a_model_that_another_server_does_not_list_is_only_mentioned() -> None:
    with FakeOpenAIImages("localai", key=MARKER_KEY) as server:
        said = bound(server.url, "unlisted").check_access()
    assert "unlisted is not among the models" in said[1]


@responses.activate
@pytest.mark.parametrize(("host", "dialect"), [("https://api.openai.com", "auto"), ("https://gate.test", "openai")])
def test_a_restricted_key_that_cannot_list_models_is_accepted(host: str, dialect: str) -> None:
    message = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
    responses.get(f"{host}/v1/models", status=401, json={"error": {"message": message}})
    said = bound(host, "gpt-image-1.5", dialect).check_access()
    assert "could not be checked" in said[-1]


@responses.activate
@pytest.mark.parametrize(("model", "family"), [("gpt-image-1.5", True), ("my-painter", False)])
def test_a_model_is_told_by_its_family_where_it_has_one(model: str, family: bool) -> None:
    responses.get("https://gate.test/v1/models", json={"data": []})
    responses.get("https://gate.test/v1/models", json={"data": [{"id": model}]})
    for _ in range(2):
        said = bound("https://gate.test", model, "openai").check_access()
        assert any("is treated as" in sentence for sentence in said) is family


@responses.activate
def test_a_restricted_key_does_not_identify_an_unknown_server() -> None:
    message = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
    responses.get(f"{HOME}/v1/models", status=401, json={"error": {"message": message}})
    with pytest.raises(AuthorizationFailed, match="restricted key"):
        bound(HOME, "x").check_access()


@responses.activate
def test_a_long_list_is_reduced_to_the_image_models() -> None:
    names = [
        "gpt-4",
        "whisper-1",
        *(f"gpt-5-{number}" for number in range(90)),
        "gpt-image-1.5",
        "chatgpt-image-latest",
    ]
    responses.get("https://api.openai.com/v1/models", json={"data": [{"id": name} for name in names]})
    said = bound("https://api.openai.com", "gpt-image-9").check_access()
    assert "(gpt-image-1.5, chatgpt-image-latest)" in said[1]


def test_the_known_models_are_the_listed_ones() -> None:
    with FakeOpenAIImages("localai", key=MARKER_KEY) as server:
        backend = bound(server.url, "x")
        live(backend)
        assert listed(backend) == ["stablediffusion", "qwen-image-edit"]


@pytest.mark.parametrize("dialect", ["vllm_omni", "sglang"])
def test_a_text_server_is_refused_despite_its_model_list(dialect: str) -> None:
    with FakeOpenAIImages(dialect, key=MARKER_KEY) as server:
        server.lacks = {"/v1/images/generations", "/v1/images/edits"}
        with pytest.raises(BadRequest) as caught:
            bound(server.url, "Qwen/Qwen-Image").check_access()
    assert "has no images API" in str(caught.value)
    assert "--omni" in caught.value.next_step


def test_a_server_version_without_editing_is_reported() -> None:
    model = "Qwen/Qwen-Image-Edit"
    with FakeOpenAIImages("vllm_omni", key=MARKER_KEY, models=(model,)) as server:
        server.lacks = {"/v1/images/edits"}
        assert "cannot edit images" in bound(server.url, model).check_access()[-1]
