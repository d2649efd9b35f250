"""The backend with fake servers over HTTP: every dialect generates, edits, waits, fails and recovers."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import responses

from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.images import resolved
from models.backends.openai_images import OpenAIImages
from models.backends.openai_images.detect import Address, Finding, ListedModel
from models.backends.openai_images.models import dialects
from models.backends.reply import Reply
from models.entities import ImageRequest, ImageResult, InputImage
from tests import asking
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.openai_images import FakeOpenAIImages, Fault

EDITORS = {
    "openai": "gpt-image-1.5",
    "vllm_omni": "Qwen/Qwen-Image-Edit-2509",
    "sglang": "Qwen/Qwen-Image-Edit-2509",
    "localai": "qwen-image-edit",
    "sdcpp": "sd-cpp-local",
    "xinference": "Qwen-Image-Edit-2509",
    "siliconflow": "Qwen/Qwen-Image-Edit-2509",
}
GENERATORS = {
    "openai": "gpt-image-1.5",
    "vllm_omni": "Qwen/Qwen-Image",
    "sglang": "Qwen/Qwen-Image",
    "localai": "stablediffusion",
    "sdcpp": "sd-cpp-local",
    "xinference": "Qwen-Image",
    "siliconflow": "Qwen/Qwen-Image",
}
HOME = "http://images.test"


class Servers:
    """Starts fake servers for one test and binds backends to them."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def start(self, dialect: str, **options: object) -> FakeOpenAIImages:
        return self.stack.enter_context(FakeOpenAIImages(dialect, key=MARKER_KEY, **options))  # type: ignore[arg-type]


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


def bound(
    address: str, model: str, dialect: str = "auto", *, key: str = MARKER_KEY, clock: FakeClock | None = None
) -> OpenAIImages:
    form = {"backend": "openai_images", "base_url": address, "api_key": key, "dialect": dialect}
    backend = asking.bound(model, form, clock)
    assert isinstance(backend, OpenAIImages)
    return backend


def generate(backend: OpenAIImages, **parts: object) -> ImageResult:
    """One request, processed as in the pipeline."""
    backend.require_access()
    backend.learn(backend.within(5.0))
    return backend.invoke(asking.asked(backend, "a red bicycle", **{"timeout": 60.0, **parts}))


def image(width: int = 320, height: int = 240, name: str = "photo.png") -> InputImage:
    return InputImage(image_file(width, height), "image/png", name)


# ---- every dialect


def chosen_or_auto(dialect: str) -> list[str]:
    # OpenAI and SiliconFlow are detected by their addresses, which a fake server does not have.
    return [dialect] if dialect in {"openai", "siliconflow"} else [dialect, "auto"]


WAYS = [(dialect, way) for dialect in GENERATORS for way in chosen_or_auto(dialect)]


@pytest.mark.parametrize(("dialect", "way"), WAYS)
def test_every_dialect_generates(servers: Servers, dialect: str, way: str) -> None:
    server = servers.start(dialect)
    backend = bound(server.url, GENERATORS[dialect], way)
    result = generate(backend, width=1024, height=1024)
    assert server.ignored == []
    assert server.generated[0].prompt.strip() == "a red bicycle"
    assert [made.size for made in result.images] == [(1024, 1024)]
    assert result.images[0].seed == server.generated[0].seed
    assert result.images[0].mime_type == "image/png"
    assert result.images[0].url is None
    assert result.notices == ()
    assert len(server.posts) == 1


@pytest.mark.parametrize(("dialect", "way"), WAYS)
def test_every_dialect_edits(servers: Servers, dialect: str, way: str) -> None:
    models = () if dialect in {"openai", "localai", "siliconflow"} else (EDITORS[dialect],)
    server = servers.start(dialect, models=models)
    photo = image()
    result = generate(bound(server.url, EDITORS[dialect], way), images=(photo,), seed=None)
    assert server.ignored == []
    assert server.generated[0].images == (photo.data,)
    assert len(result.images) == 1


def test_two_and_three_images_reach_qwen_image_edit_in_order(servers: Servers) -> None:
    for dialect in ("vllm_omni", "sglang", "xinference", "siliconflow"):
        server = servers.start(dialect, models=(EDITORS[dialect],))
        photos = (image(64, 64), image(96, 64), image(64, 96))
        generate(bound(server.url, EDITORS[dialect], dialect), images=photos)
        assert server.generated[0].images == tuple(photo.data for photo in photos)
        with pytest.raises(BadRequest, match="4 input images"):
            generate(bound(server.url, EDITORS[dialect], dialect), images=(*photos, image()))


def test_xinference_paints_a_mask_on_its_own_path(servers: Servers) -> None:
    server = servers.start("xinference")
    mask = InputImage(image_file(320, 240, mode="L", colour=255), "image/png", "mask.png")
    generate(bound(server.url, "sd-inpainting"), images=(image(),), mask=mask, denoising_strength=0.8)
    assert server.posts[0].path == "/v1/images/inpainting"
    assert server.ignored == []
    assert server.generated[0].mask


def test_qwen_image_edit_without_an_image_is_refused_before_anything_is_sent(servers: Servers) -> None:
    server = servers.start("vllm_omni", models=(EDITORS["vllm_omni"],))
    with pytest.raises(BadRequest, match="edits images, and no image was sent"):
        generate(bound(server.url, EDITORS["vllm_omni"]))
    assert server.posts == []


def test_qwen_image_on_its_own_server_gets_its_defaults(servers: Servers) -> None:
    for dialect in ("vllm_omni", "sglang"):
        server = servers.start(dialect)
        generate(bound(server.url, "Qwen/Qwen-Image"))
        generated = server.generated[0]
        assert (generated.steps, generated.cfg, generated.negative) == (50, 4.0, " ")
        assert (generated.width, generated.height) == (1328, 1328)


def test_an_alias_is_resolved_if_the_server_names_the_model(servers: Servers) -> None:
    server = servers.start("vllm_omni", models=("painter",), root="/models/Qwen/Qwen-Image-Edit-2509")
    backend = bound(server.url, "painter")
    generate(backend, images=(image(),))
    assert backend.capabilities.images == 3
    assert server.generated[0].steps == 40


def test_a_random_seed_is_sent_reported_and_never_repeated(servers: Servers) -> None:
    server = servers.start("sglang")
    seeds = {generate(bound(server.url, "Qwen/Qwen-Image")).images[0].seed for _ in range(3)}
    assert len(seeds) == 3
    assert seeds == {generated.seed for generated in server.generated}


def test_several_images_report_their_seeds(servers: Servers) -> None:
    counted = servers.start("sdcpp")
    result = generate(bound(counted.url, "sd"), n=3, seed=7)
    assert [made.seed for made in result.images] == [7, 8, 9]
    shared = servers.start("vllm_omni")
    result = generate(bound(shared.url, "Qwen/Qwen-Image"), n=2, seed=7)
    assert [made.seed for made in result.images] == [7, 7]


def test_localai_chooses_the_seeds_of_several_images(servers: Servers) -> None:
    server = servers.start("localai")
    result = generate(bound(server.url, "stablediffusion"), n=2)
    assert server.generated[0].seed is None
    assert [made.seed for made in result.images] == [None, None]
    alike = generate(bound(server.url, "stablediffusion"), n=2, seed=5)
    assert any("identical" in notice for notice in alike.notices)


def test_sdcpp_accepts_every_parameter(servers: Servers) -> None:
    server = servers.start("sdcpp")
    generate(bound(server.url, "sd"), negative_prompt='say "no"', steps=12, cfg_scale=6.5, seed=3)
    generated = server.generated[0]
    assert (generated.negative, generated.steps, generated.cfg, generated.seed) == ('say "no"', 12, 6.5, 3)
    assert generated.prompt == "a red bicycle "


def test_localai_inpaints_at_its_own_size_without_a_seed(servers: Servers) -> None:
    server = servers.start("localai")
    result = generate(bound(server.url, "stablediffusion"), images=(image(),), mask=image(320, 240), seed=5)
    assert server.generated[0].mask
    assert server.ignored == []
    assert result.images[0].seed is None
    assert any("seed" in notice for notice in result.notices)


def test_openai_gets_a_mask_with_alpha(servers: Servers) -> None:
    server = servers.start("openai")
    generate(bound(server.url, "gpt-image-1.5", "openai"), images=(image(),), mask=image(32, 32))
    assert server.generated[0].mask


@pytest.mark.parametrize("dialect", ["vllm_omni", "sglang"])
def test_a_mask_that_the_server_ignores_is_refused_with_the_next_step(servers: Servers, dialect: str) -> None:
    server = servers.start(dialect, models=(EDITORS[dialect],))
    with pytest.raises(BadRequest) as caught:
        generate(bound(server.url, EDITORS[dialect]), images=(image(),), mask=image())
    assert "masks" in str(caught.value)
    assert EDITORS[dialect] in str(caught.value)
    assert "ComfyUI" in caught.value.next_step
    assert server.posts == []


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/images/generations"])
def test_base_urls_work_with_and_without_v1(servers: Servers, tail: str) -> None:
    server = servers.start("vllm_omni")
    assert generate(bound(server.url + tail, "Qwen/Qwen-Image")).images


def test_the_path_prefix_before_v1_is_kept() -> None:
    assert Address.of("https://gate.test/llm/v1/").root == "https://gate.test/llm"


@pytest.mark.parametrize(
    ("base", "address", "url"),
    [
        ("http://gpu:1", "/v1/images/7/content", "http://gpu:1/v1/images/7/content"),
        ("http://gpu:1/sg", "/v1/images/7/content", "http://gpu:1/sg/v1/images/7/content"),
        ("http://gpu:1/sg", "/sg/out/7.png", "http://gpu:1/sg/out/7.png"),
        ("http://gpu:1/sg", "out/7.png", "http://gpu:1/sg/out/7.png"),
        ("http://gpu:1/sg", "//cdn.test/7.png", "http://cdn.test/7.png"),
        ("http://gpu:1/sg", "https://cdn.test/7.png?a=%2F", "https://cdn.test/7.png?a=%2F"),
    ],
)
def test_a_relative_path_in_a_reply_is_resolved_against_the_address(base: str, address: str, url: str) -> None:
    assert resolved(base, address) == url


def test_hosted_services_need_no_address() -> None:
    backend = asking.bound("gpt-image-1.5", {"backend": "openai_images", "api_key": "k", "dialect": "openai"})
    backend.require_access()
    assert isinstance(backend, OpenAIImages)
    assert backend.service.base_url == "https://api.openai.com"
    with pytest.raises(BadRequest, match=r"Fill “Base URL” \(base_url\) in the model's settings"):
        asking.bound("x", {"backend": "openai_images"}).require_access()


def test_a_login_in_the_address_is_used_and_never_shown() -> None:
    backend = bound(f"http://me:{MARKER_KEY}@127.0.0.1:9", "x", "localai", key="")
    with pytest.raises(ConnectionFailed) as caught:
        generate(backend, timeout=1.0)
    assert backend.service.headers["Authorization"].startswith("Basic ")
    assert MARKER_KEY not in str(caught.value)
    assert MARKER_KEY not in backend.service.base_url


# ---- faults


def test_a_dropped_connection_is_a_connection_error_and_nothing_is_generated_twice(servers: Servers) -> None:
    server = servers.start("vllm_omni")
    for fault in (Fault(drop=True), Fault(drop=True, status=200)):
        server.faults.append(fault)
        with pytest.raises(ConnectionFailed):
            generate(bound(server.url, "Qwen/Qwen-Image"))
    assert len(server.posts) == 2


def test_a_server_that_does_not_answer_is_given_up_at_the_deadline(servers: Servers) -> None:
    server = servers.start("sglang")
    bound(server.url, "Qwen/Qwen-Image").rules()
    server.faults.append(Fault(delay=30.0))
    with pytest.raises(ConnectionFailed, match="Raise `timeout`"):
        generate(bound(server.url, "Qwen/Qwen-Image"), timeout=0.3)


def test_a_rate_limit_is_retried_after_the_servers_delay(servers: Servers, clock: FakeClock) -> None:
    server = servers.start("openai")
    body = {"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    server.faults += [Fault(status=429, body=body, headers={"Retry-After": "7"}), Fault(status=429, body=body)]
    result = generate(bound(server.url, "gpt-image-1.5", "openai", clock=clock))
    assert result.images
    assert clock.pauses == [7.0, 4.0]


def test_an_account_without_credit_is_not_retried(servers: Servers, clock: FakeClock) -> None:
    server = servers.start("openai")
    error = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
    server.faults.append(Fault(status=429, body={"error": error}))
    with pytest.raises(RateLimited, match="add some or raise its limit"):
        generate(bound(server.url, "gpt-image-1.5", "openai", clock=clock))
    assert clock.pauses == []
    assert len(server.posts) == 1


def test_a_loading_model_is_retried_after_the_servers_delay(servers: Servers, clock: FakeClock) -> None:
    server = servers.start("localai")
    body = {"error": {"code": 503, "message": "model is loading", "type": ""}}
    server.faults.append(Fault(status=503, body=body, headers={"Retry-After": "3"}))
    assert generate(bound(server.url, "stablediffusion", clock=clock)).images
    assert clock.pauses == [3.0]


@pytest.mark.parametrize("dialect", sorted(GENERATORS))
def test_a_wrong_key_names_the_field_and_never_shows_the_key(servers: Servers, dialect: str) -> None:
    server = servers.start(dialect)
    wrong = f"{MARKER_KEY}-but-wrong"
    for action in ("invoke", "check_access"):
        backend = bound(server.url, GENERATORS[dialect], dialect, key=wrong)
        with pytest.raises(ImageError) as caught:
            generate(backend) if action == "invoke" else backend.check_access()
        assert caught.value.host.__name__ == "InvokeAuthorizationError"
        assert "(api_key) in the model's settings" in str(caught.value)
        assert MARKER_KEY not in str(caught.value)


def test_an_offline_server_gives_a_full_form_and_a_clear_error(clock: FakeClock) -> None:
    backend = bound("http://127.0.0.1:9", "x", clock=clock)
    assert "steps" in [rule.name for rule in backend.rules()]
    assert backend.capabilities.images > 0
    with pytest.raises(ConnectionFailed, match=r"\(base_url\) in the model's settings"):
        generate(backend)


@pytest.mark.parametrize(
    "address", ["gpu:8091", "http://", "http://[", "ftp://x", "http://gpu:99999", "http://x y/", "://"]
)
def test_an_invalid_address_is_reported_on_use(address: str) -> None:
    backend = bound(address, "x")
    assert backend.rules()
    assert backend.capabilities.images
    for use in (lambda: generate(backend), backend.check_access):
        with pytest.raises(ConnectionFailed, match=r"\(base_url\) in the model's settings"):
            use()


def test_an_unknown_dialect_is_refused_with_the_list() -> None:
    backend = bound("http://127.0.0.1:9", "x", "klingon")
    assert backend.rules()
    with pytest.raises(BadRequest, match="vllm_omni"):
        generate(backend)


# ---- replies


def answer(body: object, *, status: int = 200, content_type: str = "application/json") -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    responses.post(f"{HOME}/v1/images/generations", body=raw, status=status, content_type=content_type)


@pytest.fixture
def generic() -> OpenAIImages:
    return bound(HOME, "some-model", "openai")


PIC = image_file(64, 48)
B64 = base64.b64encode(PIC).decode()


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"b64_json": B64, "url": None}]},
        {"data": [{"b64_json": f"data:image/png;base64,{B64}"}]},
        {"data": [{"url": f"data:image/png;base64,{B64}"}]},
        {"data": [{"b64_json": B64[:20] + "\n" + B64[20:], "file_path": "/srv/out/x.png"}], "usage": {"total": 1}},
        {"images": [{"b64_json": B64}]},
        PIC,
    ],
)
def test_every_format_of_an_image_reply_is_parsed(generic: OpenAIImages, body: object) -> None:
    answer(body)
    result = generate(generic)
    assert [made.data for made in result.images] == [PIC]
    assert "/srv" not in repr(result)


@responses.activate
def test_a_zip_of_images_is_unpacked(generic: OpenAIImages) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.png", PIC)
        archive.writestr("2.jpg", image_file(32, 32, kind="JPEG"))
    answer(out.getvalue(), content_type="application/zip")
    result = generate(generic, n=2)
    assert [made.mime_type for made in result.images] == ["image/png", "image/jpeg"]


@responses.activate
def test_a_zip_bomb_is_not_unpacked(generic: OpenAIImages) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(65 * 1024 * 1024))
    answer(out.getvalue())
    with pytest.raises(ServerUnavailable, match="ZIP is too large"):
        generate(generic)


@responses.activate
def test_the_type_comes_from_the_bytes(generic: OpenAIImages) -> None:
    answer({"data": [{"b64_json": base64.b64encode(image_file(kind="JPEG")).decode()}], "output_format": "png"})
    assert generate(generic).images[0].mime_type == "image/jpeg"


@responses.activate
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"created": 1}, "without an image"),
        ({"data": []}, "without an image"),
        ({"data": [{"b64_json": "", "url": ""}]}, "without an image"),
        ({"data": [{"b64_json": "%%%"}]}, "broken base64"),
        ({"data": [{"b64_json": base64.b64encode(b"<html>").decode()}]}, "HTML page"),
        (b"<html>proxy</html>", "not understood"),
        (b"PK\x03\x04garbage", "broken ZIP"),
    ],
)
def test_a_success_without_an_image_is_a_failure(generic: OpenAIImages, body: object, words: str) -> None:
    answer(body)
    with pytest.raises(ServerUnavailable, match=words):
        generate(generic)


@responses.activate
def test_an_error_body_with_status_200_is_an_error(generic: OpenAIImages) -> None:
    answer({"error": {"message": "blocked by our safety system", "code": "moderation_blocked"}})
    with pytest.raises(BadRequest, match="content filter"):
        generate(generic)


@responses.activate
def test_a_relative_address_is_fetched_from_the_server_with_the_login(generic: OpenAIImages) -> None:
    answer({"data": [{"url": "/v1/images/1/content?variant=0"}]})
    responses.get(f"{HOME}/v1/images/1/content?variant=0", body=PIC)
    result = generate(generic)
    assert result.images[0].data == PIC
    assert result.images[0].url is None
    assert responses.calls[-1].request.headers["Authorization"] == f"Bearer {MARKER_KEY}"


@responses.activate
def test_a_public_address_is_fetched_without_the_login_and_kept(
    generic: OpenAIImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [(0, 0, 0, "", ("93.184.216.34", 0))])
    answer({"data": [{"url": "https://files.test/x.png?sig=1"}]})
    responses.get("https://files.test/x.png?sig=1", body=PIC)
    result = generate(generic)
    assert result.images[0].url == "https://files.test/x.png?sig=1"
    assert "Authorization" not in responses.calls[-1].request.headers
    assert any("one hour" in notice for notice in result.notices)


@responses.activate
@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8080/x.png",
        "http://[::1]/x.png",
        "http://10.0.0.7/x.png",
        "file:///etc/passwd",
        "ftp://files.test/x.png",
    ],
)
def test_a_private_address_in_a_reply_is_not_fetched(generic: OpenAIImages, address: str) -> None:
    answer({"data": [{"url": address}]})
    with pytest.raises(ServerUnavailable, match="address"):
        generate(generic)
    assert len(responses.calls) == 1


@responses.activate
def test_an_expired_url_is_a_server_error_that_names_its_lifetime(
    generic: OpenAIImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [(0, 0, 0, "", ("93.184.216.34", 0))])
    answer({"data": [{"url": "https://files.test/x.png"}]})
    responses.get("https://files.test/x.png", status=403)
    with pytest.raises(ServerUnavailable, match="HTTP 403") as caught:
        generate(generic)
    assert "keeps images for about one hour" in caught.value.next_step


@responses.activate
@pytest.mark.parametrize("broken", [{"b64_json": "%%%"}, {"b64_json": "PGh0bWw+"}, {"url": "http://10.0.0.7/x.png"}])
def test_one_broken_image_does_not_affect_the_others(generic: OpenAIImages, broken: object) -> None:
    answer({"data": [{"b64_json": B64}, broken]})
    result = generate(generic, n=2)
    assert [made.data for made in result.images] == [PIC]
    assert "1 of 2 images came back." in result.notices
    assert any(" failed: " in notice for notice in result.notices)


def test_the_users_own_host_may_serve_its_images_from_another_port(servers: Servers) -> None:
    shelf = servers.start("siliconflow")
    server = servers.start("siliconflow")
    shelf.key = ""
    server.address_for_files = shelf.url
    shelf.files = server.files
    result = generate(bound(server.url, "Qwen/Qwen-Image", "siliconflow"))
    assert result.images[0].url is None
    assert shelf.seen[-1].headers.get("Authorization") is None


@responses.activate
def test_fewer_or_different_images_give_a_notice(generic: OpenAIImages) -> None:
    answer({"data": [{"b64_json": B64, "revised_prompt": "a red bicycle in snow"}]})
    result = generate(generic, n=3, width=512, height=512)
    assert result.images[0].revised_prompt == "a red bicycle in snow"
    assert "The requested size was 512x512; the server made 64x48." in result.notices
    assert "1 of 3 images came back." in result.notices


def test_a_refusal_names_the_models_that_the_server_lists(servers: Servers) -> None:
    backend = bound(servers.start("openai").url, "gone")
    backend._learned = Finding(dialects()["openai"], models=(ListedModel(id="gpt-image-1.5"),))
    body = json.dumps({"error": {"message": "no", "code": "model_not_found"}}).encode()
    meaning = backend.explain(Reply(404, {"content-type": "application/json"}, body))
    assert "it has gpt-image-1.5" in meaning.next_step


# ---- what is known without a request, and what is asked


def listing(*cards: object) -> None:
    responses.get(f"{HOME}/v1/models", json={"data": list(cards)})


@responses.activate
def test_a_chosen_dialect_that_reports_its_model_is_asked_before_a_request() -> None:
    listing({"id": "sd-cpp-local"})
    able = {"model": {"stem": "Qwen-Image"}, "samplers": ["euler"], "schedulers": ["karras"]}
    responses.get(f"{HOME}/sdcpp/v1/capabilities", json=able)
    backend = bound(HOME, "x", "sdcpp")
    assert backend.finding is None
    backend.learn(backend.within(5.0))
    served = backend.served
    assert served is not None
    assert (served.samplers, served.schedulers) == (("euler",), ("karras",))
    backend.learn(backend.within(5.0))
    assert len(responses.calls) == 2, "it is asked once"


@responses.activate
def test_a_chosen_dialect_that_reports_nothing_is_not_asked(generic: OpenAIImages) -> None:
    generic.learn(generic.within(5.0))
    generic.live_form(generic.within(5.0))
    assert generic.finding == Finding(dialects()["openai"])
    assert len(responses.calls) == 0


@responses.activate
def test_a_chosen_dialect_stays_whatever_the_server_looks_like() -> None:
    listing({"id": "x", "owned_by": "sglang"})
    backend = bound(HOME, "x", "vllm_omni")
    for _ in range(2):
        backend.learn(backend.within(5.0))
        assert backend.finding is not None
        assert backend.finding.dialect.name == "vllm_omni"
        backend = bound(HOME, "x", "vllm_omni")  # which finds the first one's answer
    assert len(responses.calls) == 1


@responses.activate
def test_an_unreachable_server_is_no_error_for_a_chosen_dialect() -> None:
    responses.get(f"{HOME}/v1/models", status=500)
    backend = bound(HOME, "x", "vllm_omni")
    backend.learn(backend.within(5.0))
    assert backend.finding is None
    assert backend.served is not None
    unknown = bound(HOME, "x")
    assert (unknown.served, unknown.capabilities.images, unknown.capabilities.mask) == (None, 16, True)
    assert unknown.capabilities.second_image == "image"
    with pytest.raises(ServerUnavailable):
        unknown.learn(unknown.within(5.0))


@responses.activate
@pytest.mark.parametrize(
    ("dialect", "cards", "lacks"),
    [
        ("vllm_omni", [{"id": "a"}, {"id": "b"}], "it does not serve x"),
        ("vllm_omni", [{"id": "a"}, {"id": "x"}], ""),
        ("vllm_omni", [], ""),
        ("openai", [{"id": "a"}], ""),
        ("auto", [{"id": "a"}], ""),
    ],
)
def test_only_a_server_of_exact_names_lacks_a_model_that_it_does_not_list(
    dialect: str, cards: list[object], lacks: str
) -> None:
    listing(*cards)
    backend = bound(HOME, "x", dialect)
    standing = backend.standing(asking.asked(backend), backend.within(5.0), fresh=True)
    assert standing.lacks == lacks


# ---- notices and seeds


@responses.activate
@pytest.mark.parametrize(
    ("parts", "reported", "seeds"),
    [
        ({"seed": 7}, {}, [7, 8]),
        ({"seed": 7}, {"seed": 0}, [0, 0]),
        ({"seed": 7}, {"seed": 3}, [3, 3]),
    ],
)
def test_seeds_are_the_reported_ones_else_those_asked_for(
    parts: dict[str, object], reported: dict[str, object], seeds: list[int | None]
) -> None:
    answer({"data": [{"b64_json": B64}, {"b64_json": B64}], **reported})
    responses.get(f"{HOME}/v1/models", json={})
    result = generate(bound(HOME, "x", "sglang"), n=2, **parts)
    assert [made.seed for made in result.images] == seeds


@responses.activate
@pytest.mark.parametrize("n", [1, 2])
def test_only_several_images_of_one_seed_are_told_to_be_alike(n: int) -> None:
    answer({"data": [{"b64_json": B64}] * n})
    result = generate(bound(HOME, "x", "localai"), n=n, seed=5)
    alike = [notice for notice in result.notices if "identical" in notice]
    assert alike == ["LocalAI makes the same image for the same seed: all 2 are identical."][: n - 1]


@responses.activate
def test_images_of_the_requested_size_and_without_an_address_give_no_notice(generic: OpenAIImages) -> None:
    answer({"data": [{"b64_json": B64}]})
    assert generate(generic, width=64, height=48).notices == ()
    assert generate(generic).notices == ()


@responses.activate
def test_the_sizes_that_were_made_are_named_in_order(generic: OpenAIImages) -> None:
    wide = base64.b64encode(image_file(96, 32)).decode()
    answer({"data": [{"b64_json": wide}, {"b64_json": B64}, {"b64_json": B64}]})
    result = generate(generic, n=3, width=128, height=128)
    assert result.notices == ("The requested size was 128x128; the server made 64x48, 96x32.",)


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ("vllm_omni", "masks on vLLM-Omni, which would ignore it"),
        ("siliconflow", "masks on SiliconFlow"),
    ],
)
def test_a_mask_is_refused_in_the_servers_own_words(dialect: str, words: str) -> None:
    backend = bound(HOME, EDITORS[dialect], dialect)
    with pytest.raises(BadRequest) as caught:
        backend.check_inputs(ImageRequest(model="m", prompt="p", images=(image(),), mask=image()))
    assert f"{caught.value}".count(words) == 1
    assert ("ignore" in str(caught.value)) is ("ignore" in words)
    bound(HOME, EDITORS["openai"], "openai").check_inputs(
        ImageRequest(model="m", prompt="p", images=(image(),), mask=image())
    )


@pytest.mark.parametrize(
    ("address", "dialect", "key", "headers"),
    [
        (HOME, "openai", "k", {"Authorization": "Bearer k"}),
        (HOME, "azure", "k", {"api-key": "k"}),
        (f"{HOME}/openai/deployments/d", "auto", "k", {"api-key": "k"}),
        (HOME, "azure", "", {}),
    ],
)
def test_the_key_has_the_header_of_the_service(address: str, dialect: str, key: str, headers: dict[str, str]) -> None:
    sent = bound(address, "x", dialect, key=key).service.headers
    assert {name: value for name, value in sent.items() if name in {"Authorization", "api-key"}} == headers


@responses.activate
def test_an_error_beside_an_image_is_told_in_the_words_of_the_attempt(generic: OpenAIImages) -> None:
    answer({"data": [{"b64_json": B64}, {"error": {"message": "moderation", "code": "moderation_blocked"}}]})
    notices = " ".join(generate(generic, n=2).notices)
    assert "Generating with the OpenAI images API failed" in notices
