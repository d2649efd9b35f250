"""The contract of a backend, checked for every backend in the registry."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from models.backends.base import Backend, JobBackend
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.registry import BACKENDS
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage
from tests.asking import asked as settled
from tests.asking import bound
from tests.contract_cases import CASES, Case
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.broken import Broken, broken_server

SERVICES = sorted(name for name, case in CASES.items() if case.credentials)
VIDEOS = sorted(name for name, case in CASES.items() if case.video_model)
EDITORS = sorted(name for name, case in CASES.items() if case.edit_model)
VIDEO = ("duration", "resolution", "fps")
"""Parameters of videos."""


@pytest.fixture
def broken() -> Iterator[Broken]:
    with broken_server() as server:
        yield server


def backend_of(name: str) -> str:
    """The backend of a case."""
    return name.partition(" ")[0]


@contextmanager
def healthy(name: str, model: str | None = None) -> Iterator[Backend]:
    """The backend of a case bound to a fake of its service."""
    case = CASES[name]
    asked = model or case.model
    if case.serve is None or case.credentials is None:
        yield bound(asked, {})
        return
    with case.serve() as fake:
        yield bound(asked, case.credentials(fake.url))


def at(name: str, url: str) -> Backend:
    """The backend of a case bound to any address, with a clock that does not wait."""
    case = CASES[name]
    assert case.credentials
    return bound(case.model, case.credentials(url), FakeClock())


def ask(backend: Backend, **parts: object) -> ImageRequest:
    return settled(backend, "a red fox in the snow", timeout=20, **parts)


def assert_normalised(image: GeneratedImage) -> None:
    assert image.mime_type.startswith("image/")
    assert min(image.size) > 0
    assert image.image_url.startswith(("http", "data:image/"))


def test_every_backend_has_a_case() -> None:
    assert {backend_of(name) for name in CASES} == set(BACKENDS), "add the backend's case to tests/contract_cases.py"


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_result_is_normalized(name: str) -> None:
    images = (InputImage(image_file(), "image/png"),) * CASES[name].images
    with healthy(name) as backend:
        result = backend.invoke(ask(backend, images=images))
    assert (result.backend, result.model) == (backend_of(name), backend.model.name)
    assert result.prompt == "a red fox in the snow"
    for image in result.images:
        assert_normalised(image)


@pytest.mark.parametrize("name", EDITORS)
def test_an_editing_model_accepts_an_input_image(name: str) -> None:
    with healthy(name, CASES[name].edit_model) as backend:
        photo = InputImage(image_file(512, 512, kind="JPEG"), "image/jpeg", "photo.jpg")
        result = backend.invoke(ask(backend, images=(photo,)))
    for image in result.images:
        assert_normalised(image)


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_normalized_and_its_job_is_plain_json_without_secrets(name: str) -> None:
    with healthy(name, CASES[name].video_model) as backend:
        request = ask(backend, extra={rule.name: rule.default for rule in backend.rules() if rule.name in VIDEO})
        assert isinstance(backend, JobBackend)
        job = backend.submit(request)
        assert json.loads(json.dumps(job)) == job
        assert MARKER_KEY not in json.dumps(job)
        result = backend.invoke(request)
    assert (result.backend, result.model, result.prompt) == (name, backend.model.name, "a red fox in the snow")
    for video in result.images:
        assert video.is_video
        assert min(video.size) > 0
        assert video.image_url.startswith(("http", "data:video/"))


@pytest.mark.parametrize("name", sorted(CASES))
def test_too_many_images_are_refused_by_name(name: str) -> None:
    with healthy(name) as backend:
        photo = InputImage(image_file(), "image/png")
        with pytest.raises(BadRequest, match="input images") as refusal:
            backend.invoke(ask(backend, images=(photo,) * (backend.capabilities.images + 1)))
    assert backend.model.name in str(refusal.value)


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_unsupported_mask_is_refused_by_name(name: str) -> None:
    with healthy(name) as backend:
        if backend.capabilities.mask:
            pytest.skip(f"{backend.model.name} takes masks")
        with pytest.raises(BadRequest, match="masks"):
            backend.invoke(ask(backend, mask=InputImage(image_file(), "image/png")))


@pytest.mark.parametrize("name", sorted(CASES))
def test_access_is_checked_without_generating(name: str) -> None:
    with healthy(name) as backend:
        for sentence in backend.check_access():
            assert MARKER_KEY not in sentence


@pytest.mark.parametrize(
    ("status", "classes"),
    [
        (401, (AuthorizationFailed,)),
        (403, (AuthorizationFailed, BadRequest)),
        (413, (BadRequest,)),
        (429, (RateLimited,)),
        (500, (ServerUnavailable,)),
        (503, (ServerUnavailable,)),
    ],
)
@pytest.mark.parametrize("name", SERVICES)
def test_a_refusal_has_its_class_and_does_not_quote_the_key(
    name: str, status: int, classes: tuple[type[ImageError], ...], broken: Broken
) -> None:
    broken.says(status, {"error": {"message": "refused for {keys}"}, "message": "refused for {keys}"})
    backend = at(name, broken.url)
    with pytest.raises(ImageError) as failure:
        backend.invoke(ask(backend))
    assert isinstance(failure.value, classes)
    assert_clean(failure.value)


def assert_clean(error: BaseException | None) -> None:
    """No secret in the error or its causes, and a complete sentence."""
    assert str(error).endswith(".")
    while error is not None:
        assert MARKER_KEY not in f"{error} {error!r}"
        assert MARKER_KEY[8:20] not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("name", SERVICES)
def test_an_html_page_as_a_reply_is_a_server_error(name: str, broken: Broken) -> None:
    broken.says(502, "<html><body>Bad Gateway</body></html>", "text/html")
    backend = at(name, broken.url)
    with pytest.raises(ServerUnavailable) as failure:
        backend.invoke(ask(backend))
    assert "<html" not in str(failure.value)


@pytest.mark.parametrize("body", ["{}", "[]", "null", "", "not json", '{"data": []}', '{"images": []}'])
@pytest.mark.parametrize("name", SERVICES)
def test_a_success_without_an_image_is_an_error(name: str, body: str, broken: Broken) -> None:
    broken.says(200, body)
    backend = at(name, broken.url)
    with pytest.raises(ImageError) as failure:
        backend.invoke(ask(backend))
    assert isinstance(failure.value, (ServerUnavailable, ConnectionFailed, BadRequest))


@pytest.mark.parametrize("name", SERVICES)
def test_a_lost_connection_is_a_connection_error(name: str, broken: Broken) -> None:
    broken.hang_up = True
    backend = at(name, broken.url)
    with pytest.raises(ConnectionFailed) as failure:
        backend.invoke(ask(backend))
    assert_clean(failure.value)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_without_a_reply_times_out_at_the_deadline(name: str, broken: Broken) -> None:
    broken.silent = True
    case = CASES[name]
    assert case.credentials
    backend = bound(case.model, case.credentials(broken.url))  # the real clock: this is about real sockets
    with pytest.raises(ConnectionFailed) as failure:
        backend.invoke(replace(ask(backend), timeout=1))
    assert_clean(failure.value)


@pytest.mark.parametrize("name", SERVICES)
def test_an_unreachable_address_names_the_setting(name: str) -> None:
    with broken_server() as server:
        url = server.url
    backend = at(name, url)
    with pytest.raises(ConnectionFailed) as failure:
        backend.invoke(ask(backend))
    assert "base_url" in str(failure.value).casefold()


@pytest.mark.parametrize("name", SERVICES)
def test_an_inconclusive_check_is_an_error_of_its_class(name: str, broken: Broken) -> None:
    broken.says(401, {"error": {"message": "refused for {keys}"}, "detail": "Not authenticated {keys}"})
    with pytest.raises(AuthorizationFailed) as failure:
        at(name, broken.url).check_access()
    assert_clean(failure.value)


@pytest.mark.parametrize("name", SERVICES)
def test_an_empty_form_names_the_field_to_fill(name: str) -> None:
    if not BACKENDS[backend_of(name)].required:
        pytest.skip(f"{name} needs no field")
    credentials = CASES[name].credentials
    assert credentials
    own_form = {key: value for key, value in credentials("").items() if key == "backend"}
    backend = bound(CASES[name].model, own_form)
    field = backend.model.access.words(BACKENDS[backend_of(name)].required[0])
    assert re.fullmatch(r"“.+” \(\w+\)", field)
    with pytest.raises(BadRequest, match=re.escape(f"Fill {field}")):
        backend.require_access()


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_secret_is_printed(name: str) -> None:
    case = CASES[name]
    credentials = case.credentials("http://127.0.0.1:9") if case.credentials else {}
    backend = bound(case.model, credentials)
    assert MARKER_KEY not in repr(backend.model)
    assert MARKER_KEY not in repr(backend.rules())


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_job_is_plain_json_without_secrets(name: str) -> None:
    with healthy(name) as backend:
        if not isinstance(backend, JobBackend):
            pytest.skip(f"{name} has no jobs")
        outcome = backend.submit(ask(backend))
        if isinstance(outcome, ImageResult):
            pytest.skip(f"{backend.model.name} answers at once")
        assert json.loads(json.dumps(outcome)) == outcome
        assert MARKER_KEY not in json.dumps(outcome)


def test_cases_are_well_formed() -> None:
    for case in CASES.values():
        assert isinstance(case, Case)
        assert (case.serve is None) == (case.credentials is None)
