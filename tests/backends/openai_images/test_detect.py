"""The detection of the dialect: a few free requests, cached, and reported in the credential check."""

import json
import re

import pytest
import requests
import responses

from models.backends import questions
from models.backends.base import Backend
from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed
from models.backends.openai_images import OpenAIImages, detect
from models.backends.openai_images.models import dialects
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


# ---- the sentences of the check

OPENAI_HOST = "https://api.openai.com"
PORTABLE = (
    "The server was not recognised, so only the portable core of the OpenAI images API is used; choose a dialect "
    "for steps, seed and negative prompt."
)


@responses.activate
@pytest.mark.parametrize(
    ("cards", "model", "dialect", "said"),
    [
        ([{"id": "a"}, {"id": "flux"}], "flux", "auto", [PORTABLE]),
        ([{"id": "gpt-image-1.5"}], "gpt-image-1.5", "auto", [PORTABLE, "gpt-image-1.5 is treated as gpt-image."]),
        (
            [{"id": "a"}, {"id": "b"}],
            "c",
            "auto",
            [PORTABLE, "c is not among the models that the server lists (a, b)."],
        ),
        ([], "c", "auto", [PORTABLE, "No models are listed, so c could not be checked."]),
        (
            [],
            "gpt-image-1.5",
            "auto",
            [
                PORTABLE,
                "gpt-image-1.5 is treated as gpt-image.",
                "No models are listed, so gpt-image-1.5 could not be checked.",
            ],
        ),
        (
            [{"id": "flux"}],
            "flux",
            "openai",
            ["The dialect openai (the OpenAI images API) is used as chosen."],
        ),
        (
            [{"id": "flux", "owned_by": "xinference"}],
            "flux",
            "xinference",
            ["The dialect xinference (Xinference) is used as chosen."],
        ),
        (
            [{"id": "flux", "owned_by": "xinference"}],
            "flux",
            "auto",
            ["The server was recognised as Xinference (xinference): its models are owned by xinference."],
        ),
        (
            [{"id": "sd-cpp-local"}],
            "flux",
            "auto",
            ["The server was recognised as stable-diffusion.cpp (sdcpp): it serves the model sd-cpp-local."],
        ),
    ],
)
def test_the_check_says_what_the_server_is_and_has(
    cards: list[object], model: str, dialect: str, said: list[str]
) -> None:
    models(*cards)
    responses.get(re.compile(f"{HOME}/v1/images/.*"), status=405)
    responses.get(re.compile(f"{HOME}/(?!v1/).*"), status=404)
    responses.post(re.compile(f"{HOME}/.*"), status=400, json={})
    assert bound(HOME, model, dialect).check_access() == said


@responses.activate
def test_a_known_host_is_named_as_the_sign_and_needs_no_other_request() -> None:
    responses.get(f"{OPENAI_HOST}/v1/models", json={"data": []})
    assert bound(OPENAI_HOST, "gpt-image-1.5").check_access() == [
        "The server was recognised as the OpenAI images API (openai): the address is api.openai.com.",
        "gpt-image-1.5 is treated as gpt-image.",
        "No models are listed, so gpt-image-1.5 could not be checked.",
    ]
    assert len(responses.calls) == 1


@responses.activate
def test_another_refusal_of_a_known_hosts_key_is_a_wrong_key() -> None:
    responses.get(f"{OPENAI_HOST}/v1/models", status=401, json={"error": {"message": "Incorrect API key"}})
    with pytest.raises(AuthorizationFailed, match="Incorrect API key"):
        bound(OPENAI_HOST, "gpt-image-1.5").check_access()


@responses.activate
def test_an_address_without_an_images_api_names_what_was_tried() -> None:
    responses.get(re.compile(f"{HOME}/.*"), status=404)
    responses.post(re.compile(f"{HOME}/.*"), status=404, json={})
    with pytest.raises(BadRequest) as caught:
        bound(HOME, "x").check_access()
    assert caught.value.attempted == f"No path of {HOME} replies like the OpenAI images API"
    assert caught.value.said == "neither /v1/models nor /v1/images/generations exists"


@responses.activate
def test_a_text_server_is_named_with_the_missing_path() -> None:
    models({"id": "m", "owned_by": "vllm"})
    responses.get(f"{HOME}/v1/images/generations", status=404)
    with pytest.raises(BadRequest) as caught:
        bound(HOME, "m").check_access()
    assert caught.value.attempted == f"{HOME} has no images API"
    assert caught.value.said == "it looks like vLLM-Omni, but /v1/images/generations does not exist"


@responses.activate
@pytest.mark.parametrize(("status", "more"), [(404, ["The server has no /v1/images/edits: it cannot edit images; newer versions can."]), (405, [])])  # fmt: skip
def test_only_a_model_that_edits_is_missed_an_endpoint_for_it(status: int, more: list[str]) -> None:
    edit, generate_only = "Qwen/Qwen-Image-Edit", "Qwen/Qwen-Image"
    models({"id": edit, "owned_by": "vllm"}, {"id": generate_only, "owned_by": "vllm"})
    responses.get(f"{HOME}/v1/images/generations", status=405)
    responses.get(f"{HOME}/v1/images/edits", status=status)
    assert bound(HOME, edit).check_access()[2:] == more
    assert bound(HOME, generate_only).check_access()[2:] == []


# ---- the parts of a finding


def detector(address: str = HOME) -> detect.Detector:
    return bound(address, "x").detector


@responses.activate
@pytest.mark.parametrize(("status", "there"), [(404, False), (405, True), (200, True)])
def test_an_endpoint_is_there_unless_a_get_finds_nothing(status: int, there: bool) -> None:
    responses.get(f"{HOME}/v1/images/edits", status=status)
    assert detector().has_endpoint("images/edits", bound(HOME, "x").within(5.0)) is there


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "kind", "takes"),
    [
        (400, '{"error": {"message": "no prompt"}}', "application/json", True),
        (500, "", "text/plain", True),
        (404, '{"error": {"message": "x"}}', "application/json", False),
        (405, "{}", "application/json", False),
        (404, '{"error": {"message": "x", "code": "Model_Not_Found"}}', "application/json", True),
        (400, "<html></html>", "text/html; charset=utf-8", False),
        (200, "[]", "application/json", True),
    ],
)
def test_an_endpoint_takes_posts_unless_nothing_or_a_page_replies(
    status: int, body: str, kind: str, takes: bool
) -> None:
    responses.post(f"{HOME}/v1/images/generations", status=status, body=body, content_type=kind)
    assert detector().answers_posts("images/generations", bound(HOME, "x").within(5.0)) is takes
    assert len(responses.calls) == 1


@responses.activate
def test_a_lost_connection_says_nothing_about_an_endpoint() -> None:
    responses.post(f"{HOME}/v1/images/generations", body=requests.ConnectionError("reset"))
    assert detector().answers_posts("images/generations", bound(HOME, "x").within(5.0))


@responses.activate
@pytest.mark.parametrize("status", [401, 403])
def test_an_endpoint_that_refuses_the_key_is_told(status: int) -> None:
    responses.post(f"{HOME}/v1/images/generations", status=status, json={"error": {"message": "no"}})
    with pytest.raises(AuthorizationFailed):
        detector().answers_posts("images/generations", bound(HOME, "x").within(5.0))


@responses.activate
def test_every_request_of_the_check_has_the_query_of_the_address() -> None:
    responses.get(re.compile(f"{HOME}/.*"), status=404)
    responses.post(re.compile(f"{HOME}/.*"), status=400, json={})
    bound(f"{HOME}/v1?a=b", "x").check_access()
    assert {call.request.url.partition("?")[2] for call in responses.calls} == {"a=b"}  # type: ignore[union-attr]


@responses.activate
def test_pages_are_not_asked_for_where_models_have_an_owner() -> None:
    models({"id": "a"}, {"id": "b", "owned_by": "me"})
    assert detector().ask(bound(HOME, "x").within(5.0)).dialect.name == "openai"
    assert [call.request.url for call in responses.calls] == [f"{HOME}/v1/models"]


def test_without_an_address_nothing_is_asked() -> None:
    assert detector("").ask_quickly(bound("", "x").within(5.0)) is None


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["a", "b"], "a, b"),
        (["gpt-4", "FLUX.1"], "FLUX.1"),
        (["sd3", "sd-1", "sd4", "Kolors", "SDXL-turbo"], "sd3, sd-1, Kolors, SDXL-turbo"),
        ([f"flux-{n}" for n in range(12)], ", ".join(f"flux-{n}" for n in range(12))),
        ([f"flux-{n}" for n in range(13)], ", ".join(f"flux-{n}" for n in range(12)) + " …"),
    ],
)
def test_the_first_image_models_of_a_list_are_shown(names: list[str], shown: str) -> None:
    cards = tuple(detect.ListedModel(id=name) for name in names)
    assert detect.Finding(dialects()["openai"], models=cards).shown == shown


@pytest.mark.parametrize(("dialect", "names"), [("vllm_omni", ("a", "root-a")), ("sdcpp", ("a", "root-a", "root-b"))])
def test_a_model_has_the_names_behind_its_alias(dialect: str, names: tuple[str, ...]) -> None:
    cards = (
        detect.ListedModel(id="a", root="root-a"),
        detect.ListedModel(id="b", root="root-b"),
        detect.ListedModel(id="a"),
    )
    assert detect.Finding(dialects()[dialect], models=cards).names_of("a") == names


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://[", ("http://[", "v1", {}, "")),
        ("https://h.test/v1/?a=1&b=2#c", ("https://h.test", "v1", {"a": "1", "b": "2"}, "h.test")),
        ("https://h.test/images/edits", ("https://h.test", "", {}, "h.test")),
        ("https://h.test/v1alpha2/x", ("https://h.test", "v1alpha2/x", {}, "h.test")),
        ("https://h.test/v1.5", ("https://h.test", "v1.5", {}, "h.test")),
        ("https://r.openai.azure.com", ("https://r.openai.azure.com/openai", "v1", {}, "r.openai.azure.com")),
        ("https://r.openai.azure.com/openai", ("https://r.openai.azure.com/openai", "v1", {}, "r.openai.azure.com")),
        ("https://r.openai.azure.com/x", ("https://r.openai.azure.com/x", "v1", {}, "r.openai.azure.com")),
        ("https://h.test/openai", ("https://h.test/openai", "v1", {}, "h.test")),
    ],
)
def test_an_address_has_its_root_version_query_and_host(url: str, parts: tuple[object, ...]) -> None:
    address = detect.Address.of(url)
    assert (address.root, address.api, address.query, address.host) == parts


@pytest.mark.parametrize(
    ("url", "deployment", "lacks", "header"),
    [
        ("https://h.test/v1", False, False, False),
        ("https://h.test/openai/deployments/k", True, False, True),
        ("https://r.openai.azure.com/openai/v1", False, False, True),
        ("https://r.openai.azure.com/openai/deployments/k", True, True, True),
        ("https://r.openai.azure.com/openai/deployments/k?api-version=1", True, False, True),
        ("https://r.openai.azure.com/openai/deployments/k?other=1", True, True, True),
    ],
)
def test_azures_addresses_need_a_version_and_a_header(url: str, deployment: bool, lacks: bool, header: bool) -> None:
    address = detect.Address.of(url)
    assert (address.is_deployment, address.lacks_version, address.wants_api_key_header) == (deployment, lacks, header)
