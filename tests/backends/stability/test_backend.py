"""The Stability backend with a fake server as strict as the real one."""

from collections.abc import Iterator

import pytest

from models.backends.base import Backend
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.catalog import cards
from models.entities import ImageResult, InputImage
from tests.asking import asked, bound
from tests.backends.stability.refusals import FINAL, REPEATED
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.stability import REFUSALS, FakeStability, Refusal

MODELS = [card.model for card in cards().values() if card.backend == "stability" and card.facts["api"] != "edit"]
V2 = [name for name in MODELS if name != "stable-diffusion-xl"]
EDITING = [name for name in MODELS if name != "stable-image-core"]
CORE = "stable-image-core"
PROMPT = "a red bicycle"
SQUARE = InputImage(image_file(800, 800), "image/png")


@pytest.fixture
def fake() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY, balance=1000.0, draw=lambda *_: image_file()) as server:
        yield server


@pytest.fixture
def drawing() -> Iterator[FakeStability]:
    """A fake server that returns images of the requested size."""
    with FakeStability(key=MARKER_KEY, balance=1000.0) as server:
        yield server


def backend_at(server: FakeStability, clock: FakeClock, model: str = CORE, **changes: str) -> Backend:
    return bound(model, {"stability_api_key": MARKER_KEY, "stability_base_url": server.url, **changes}, clock)


def generated(server: FakeStability, clock: FakeClock, model: str = CORE, **asking: object) -> ImageResult:
    backend = backend_at(server, clock, model)
    return backend.invoke(asked(backend, **{"prompt": PROMPT, **asking}))  # type: ignore[arg-type]


def failure(server: FakeStability, clock: FakeClock, model: str = CORE, **asking: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        generated(server, clock, model, **asking)
    assert MARKER_KEY not in str(caught.value)
    assert MARKER_KEY not in repr(caught.value)
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("model", MODELS)
def test_every_model_supports_txt2img(fake: FakeStability, clock: FakeClock, model: str) -> None:
    result = generated(fake, clock, model, seed=42, negative_prompt="blurry", style_preset="anime", aspect_ratio="16:9")
    assert [image.seed for image in result.images] == [42]
    assert (result.backend, result.model, result.prompt) == ("stability", model, "a red bicycle")


@pytest.mark.parametrize("model", EDITING)
def test_every_model_except_core_supports_img2img(fake: FakeStability, clock: FakeClock, model: str) -> None:
    result = generated(fake, clock, model, images=(SQUARE,), denoising_strength=0.4)
    assert len(result.images) == 1


def test_core_refuses_input_images_by_name(fake: FakeStability, clock: FakeClock) -> None:
    error = failure(fake, clock, images=(SQUARE,))
    assert isinstance(error, BadRequest)
    assert "stable-image-core does not support input images" in str(error)
    assert fake.requests == []


@pytest.mark.parametrize("model", EDITING)
def test_a_second_image_and_a_mask_are_refused(fake: FakeStability, clock: FakeClock, model: str) -> None:
    assert isinstance(failure(fake, clock, model, images=(SQUARE, SQUARE)), BadRequest)
    assert isinstance(failure(fake, clock, model, images=(SQUARE,), mask=SQUARE), BadRequest)


@pytest.mark.parametrize("model", MODELS)
def test_every_call_names_the_client_and_sends_the_key_only_in_its_header(
    fake: FakeStability, clock: FakeClock, model: str
) -> None:
    generated(fake, clock, model)
    sent = fake.requests[0]
    assert sent.headers["authorization"] == f"Bearer {MARKER_KEY}"
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["stability-client-id"] == "dify-image-generation"
    assert sent.headers["stability-client-version"]
    assert MARKER_KEY.encode() not in sent.body


def test_n_images_are_n_calls_with_consecutive_seeds(fake: FakeStability, clock: FakeClock) -> None:
    result = generated(fake, clock, n=3, seed=7)
    assert sorted(request.texts["seed"] for request in fake.requests) == ["7", "8", "9"]
    assert [image.seed for image in result.images] == [7, 8, 9]


def test_after_the_largest_seed_comes_one_because_zero_is_random(fake: FakeStability, clock: FakeClock) -> None:
    generated(fake, clock, n=2, seed=4_294_967_294)
    assert sorted(request.texts["seed"] for request in fake.requests) == ["1", "4294967294"]


def test_without_a_seed_one_is_drawn_and_reported(fake: FakeStability, clock: FakeClock) -> None:
    result = generated(fake, clock)
    assert result.images[0].seed == int(fake.requests[0].texts["seed"]) > 0


def test_seed_zero_gives_a_notice_that_it_is_random(fake: FakeStability, clock: FakeClock) -> None:
    result = generated(fake, clock, seed=0)
    assert result.notices == (f"Seed 0 means random to Stability AI; {result.images[0].seed} was used.",)


@pytest.mark.parametrize(("model", "seed"), [("stable-image-core", 4_294_967_295), ("stable-diffusion-xl", 2**32)])
def test_a_seed_out_of_range_is_refused_before_anything_is_paid(
    fake: FakeStability, clock: FakeClock, model: str, seed: int
) -> None:
    assert "seed" in str(failure(fake, clock, model, seed=seed))
    assert fake.requests == []


def test_sdxl_accepts_its_largest_seed(fake: FakeStability, clock: FakeClock) -> None:
    result = generated(fake, clock, "stable-diffusion-xl", seed=4_294_967_295)
    assert result.images[0].seed == 4_294_967_295


def test_paid_images_are_kept_when_credits_run_out(fake: FakeStability, clock: FakeClock) -> None:
    fake.balance = 7.0
    result = generated(fake, clock, n=10)
    assert len(result.images) == 2
    assert result.notices[0] == "2 of 10 images came back."
    assert "Buy credits" in result.notices[1]
    assert len(fake.requests) < 10


def test_at_most_four_calls_run_in_parallel(fake: FakeStability, clock: FakeClock) -> None:
    fake.delay = 0.05
    assert len(generated(fake, clock, n=9).images) == 9
    assert fake.most_at_once == 4


def test_a_filtered_image_does_not_stop_the_others(fake: FakeStability, clock: FakeClock) -> None:
    fake.filter_next()
    result = generated(fake, clock, n=3, seed=5)
    assert len(result.images) == 2
    assert {image.seed for image in result.images} < {5, 6, 7}
    assert "content filter" in result.notices[1]


def test_sdxl_keeps_the_unfiltered_samples_in_one_call(fake: FakeStability, clock: FakeClock) -> None:
    fake.filter_next()
    result = generated(fake, clock, "stable-diffusion-xl", n=3, seed=5)
    assert [image.seed for image in result.images] == [6, 7]
    assert len(fake.requests) == 1


@pytest.mark.parametrize("model", MODELS)
def test_a_filtered_result_is_a_failure_not_a_blurred_image(fake: FakeStability, clock: FakeClock, model: str) -> None:
    fake.filter_next()
    error = failure(fake, clock, model)
    assert isinstance(error, BadRequest)
    assert "content filter" in str(error)
    assert len(fake.requests) == 1


def test_a_size_becomes_the_nearest_ratio_with_a_notice_naming_both(drawing: FakeStability, clock: FakeClock) -> None:
    result = generated(drawing, clock, "sd3.5-medium", width=1280, height=720)
    assert result.images[0].size == (1344, 768)
    assert result.notices == ("The size 1280×720 became 16:9, the nearest that sd3.5-medium makes.",)


def test_sdxl_makes_the_exact_size_without_a_notice(drawing: FakeStability, clock: FakeClock) -> None:
    result = generated(drawing, clock, "stable-diffusion-xl", width=1216, height=832)
    assert (result.images[0].size, result.notices) == ((1216, 832), ())


def test_sdxl_uses_the_nearest_size_with_a_notice_naming_both(drawing: FakeStability, clock: FakeClock) -> None:
    result = generated(drawing, clock, "stable-diffusion-xl", width=512, height=512)
    assert result.images[0].size == (1024, 1024)
    assert result.notices == ("The size 512×512 became 1024×1024, the nearest that stable-diffusion-xl makes.",)


def test_sdxl_accepts_an_input_image_of_any_size(drawing: FakeStability, clock: FakeClock) -> None:
    result = generated(drawing, clock, "stable-diffusion-xl", images=(InputImage(image_file(600, 400), "image/png"),))
    assert result.images[0].size == (1216, 832)
    assert "600×400" in result.notices[0]


@pytest.mark.parametrize("model", EDITING)
def test_an_input_image_over_ten_mebibytes_is_compressed(fake: FakeStability, clock: FakeClock, model: str) -> None:
    large = InputImage(image_file(900, 700) + bytes(10 * 1024**2), "image/png")
    result = generated(fake, clock, model, images=(large,))
    assert len(result.images) == 1


@pytest.mark.parametrize("refusal", FINAL)
def test_a_refusal_has_its_class_and_next_step_and_is_not_retried(
    fake: FakeStability, clock: FakeClock, refusal: str
) -> None:
    error, advice = FINAL[refusal]
    fake.fail_next(refusal)
    caught = failure(fake, clock)
    assert type(caught) is error
    assert advice in caught.next_step
    assert "{" not in str(caught)
    assert "<" not in str(caught)
    assert len(fake.requests) == 1
    assert clock.pauses == []


def test_every_documented_refusal_is_covered() -> None:
    assert set(FINAL) | set(REPEATED) == set(REFUSALS)


def test_the_services_message_is_quoted(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("insufficient_balance")
    assert "need $0.009, have $0.002" in str(failure(fake, clock, "stable-diffusion-xl"))


def test_a_prompt_in_another_language_is_refused_with_the_next_step(fake: FakeStability, clock: FakeClock) -> None:
    error = failure(fake, clock, prompt="红色自行车")
    assert isinstance(error, BadRequest)
    assert "put an LLM node before this one that translates" in str(error)


@pytest.mark.parametrize("refusal", ["internal_error", "html_502", "html_503", "server_error"])
def test_a_server_error_is_retried_twice_with_growing_pauses(
    fake: FakeStability, clock: FakeClock, refusal: str
) -> None:
    fake.fail_next(refusal, times=2)
    assert len(generated(fake, clock).images) == 1
    assert clock.pauses == [2.0, 8.0]


def test_a_persistent_server_error_is_reported_after_three_calls(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("internal_error", times=9)
    assert isinstance(failure(fake, clock), ServerUnavailable)
    assert len(fake.requests) == 3


def test_a_blocked_key_is_retried_after_a_minute(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("rate_limit_exceeded")
    assert len(generated(fake, clock).images) == 1
    assert clock.pauses == [60.0]


def test_retry_after_overrides_the_minute(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("rate_limit_exceeded", Retry_After="7")
    generated(fake, clock)
    assert clock.pauses == [7.0]


def test_a_persistent_rate_limit_is_reported_after_two_retries(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("rate_limit_exceeded", times=9)
    assert isinstance(failure(fake, clock), RateLimited)
    assert clock.pauses == [60.0, 60.0]


def test_a_wait_never_exceeds_the_timeout(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next("rate_limit_exceeded")
    assert isinstance(failure(fake, clock, timeout=30.0), RateLimited)
    assert clock.pauses == []


@pytest.mark.parametrize("when", ["before", "middle"])
@pytest.mark.parametrize("model", ["stable-image-core", "stable-diffusion-xl"])
def test_a_lost_connection_is_not_retried_because_it_may_be_billed(
    fake: FakeStability, clock: FakeClock, model: str, when: str
) -> None:
    fake.drop_next(when)
    assert isinstance(failure(fake, clock, model), ConnectionFailed)
    assert len(fake.requests) == 1


def test_paid_images_are_kept_when_another_connection_is_lost(fake: FakeStability, clock: FakeClock) -> None:
    fake.pass_next()
    fake.drop_next("middle")
    result = generated(fake, clock, n=2)
    assert len(result.images) == 1
    assert result.notices[0] == "1 of 2 images came back."
    assert len(fake.requests) == 2


def test_a_slow_reply_ends_at_the_timeout(fake: FakeStability, clock: FakeClock) -> None:
    fake.delay = 5.0
    error = failure(fake, clock, timeout=0.2)
    assert isinstance(error, ConnectionFailed)
    assert "timeout" in error.next_step


def test_an_unreachable_address_is_a_connection_failure_that_names_its_field(clock: FakeClock) -> None:
    with FakeStability() as gone:
        address = gone.url
    backend = bound("sd3.5-large", {"stability_api_key": MARKER_KEY, "stability_base_url": address}, clock)
    with pytest.raises(ConnectionFailed, match="stability_base_url"):
        backend.invoke(asked(backend))
    assert clock.pauses == [2.0, 8.0]


def test_without_a_key_the_field_is_named_and_nothing_is_sent(fake: FakeStability, clock: FakeClock) -> None:
    backend = bound("sd3.5-large", {"stability_base_url": fake.url}, clock)
    with pytest.raises(BadRequest, match=r"Fill .*\(stability_api_key\) in the provider's settings"):
        backend.invoke(asked(backend))
    assert fake.requests == []


# The credential check


def test_a_valid_key_is_checked_without_cost(fake: FakeStability, clock: FakeClock) -> None:
    assert backend_at(fake, clock).check_access() == []
    assert [(request.method, request.path) for request in fake.requests] == [("GET", "/v1/user/balance")]
    assert fake.balance == 1000.0


def test_a_low_balance_is_reported(fake: FakeStability, clock: FakeClock) -> None:
    fake.balance = 0.4112222
    assert "0.4112 credits" in backend_at(fake, clock).check_access()[0]


def test_a_wrong_key_is_an_authorization_failure_without_the_key(fake: FakeStability, clock: FakeClock) -> None:
    fake.key = "another"
    with pytest.raises(AuthorizationFailed, match=r"\(stability_api_key\)") as caught:
        backend_at(fake, clock).check_access()
    assert "Incorrect API key provided: [hidden]" in str(caught.value)
    assert MARKER_KEY not in str(caught.value)


@pytest.mark.parametrize("refusal", ["rate_limit_exceeded", "internal_error", "html_502", "html_503", "html_504"])
def test_an_inconclusive_check_does_not_reject_the_key(fake: FakeStability, clock: FakeClock, refusal: str) -> None:
    fake.fail_next(refusal, times=9)
    with pytest.raises((RateLimited, ServerUnavailable), match="could not be checked") as caught:
        backend_at(fake, clock).check_access()
    assert "The key may be valid" in str(caught.value)


def test_an_unreachable_service_at_the_probe_is_not_a_wrong_key(clock: FakeClock) -> None:
    with FakeStability() as gone:
        address = gone.url
    backend = bound("sd3.5-large", {"stability_api_key": MARKER_KEY, "stability_base_url": address}, clock)
    with pytest.raises(ConnectionFailed, match="could not be checked"):
        backend.check_access()


def test_another_service_at_the_address_names_the_address_field(fake: FakeStability, clock: FakeClock) -> None:
    fake.fail_next(Refusal(404, "", "not here", html=True))
    with pytest.raises(BadRequest, match=r"Check .*\(stability_base_url\)"):
        backend_at(fake, clock).check_access()


# Customizable models


def painter(server: FakeStability, clock: FakeClock, remote_model: str) -> Backend:
    form = {"backend": "stability", "base_url": server.url, "api_key": MARKER_KEY, "remote_model": remote_model}
    return bound("my-painter", form, clock)


def test_a_models_own_form_uses_the_facts_of_its_remote_model(fake: FakeStability, clock: FakeClock) -> None:
    backend = painter(fake, clock, "sd3.5-medium")
    result = backend.invoke(asked(backend))
    assert fake.requests[0].texts["model"] == "sd3.5-medium"
    assert result.model == "my-painter"
    assert backend.rules() == cards()["sd3.5-medium"].rules


def test_an_unknown_remote_model_is_refused_with_the_known_ones(fake: FakeStability, clock: FakeClock) -> None:
    backend = painter(fake, clock, "sd4")
    assert backend.rules() == ()
    for call in (backend.check_access, lambda: backend.invoke(asked(backend))):
        with pytest.raises(BadRequest, match="no model 'sd4'") as caught:
            call()
        assert all(name in str(caught.value) for name in MODELS)
    assert fake.requests == []


def test_a_wrong_key_of_a_models_own_form_names_its_own_field(fake: FakeStability, clock: FakeClock) -> None:
    fake.key = "another"
    backend = painter(fake, clock, "sd3.5-medium")
    with pytest.raises(AuthorizationFailed, match=r"Check “API key” \(api_key\) in the model's settings"):
        backend.invoke(asked(backend))
