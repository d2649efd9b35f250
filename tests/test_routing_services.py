"""`auto` and `fallback` over real HTTP: every predefined service as the model behind `auto`, and its faults."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dify_plugin.entities.model.message import ImagePromptMessageContent

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ImageError
from models.backends.registry import BACKENDS
from models.entities import InputImage
from models.output.structured import OutputOptions
from models.pipeline import Asked, Call, Finished
from models.request.conversation import Conversation
from tests.contract_cases import CASES
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.broken import Broken, broken_server
from tests.servers.qwen_image import FakeModelStudio, model_studio

SERVICES = sorted(
    name for name, case in CASES.items() if case.credentials and "backend" not in case.credentials("http://127.0.0.1:9")
)
CHARGING = [name for name in SERVICES if BACKENDS[name].charges]
OWN = [name for name in SERVICES if not BACKENDS[name].charges]
PHOTO = ImagePromptMessageContent(
    format="jpeg",
    mime_type="image/jpeg",
    base64_data=InputImage(image_file(512, 512, kind="JPEG"), "image/jpeg").base64,
    filename="photo.jpg",
)

every_service = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture
def broken() -> Iterator[Broken]:
    with broken_server() as server:
        yield server


@contextmanager
def auto(name: str) -> Iterator[Call]:
    """`auto` with the form of one healthy service."""
    case = CASES[name]
    assert case.serve
    assert case.credentials
    with case.serve() as fake:
        yield Call.of("auto", case.credentials(fake.url), None)


def at(name: str, url: str, **node: object) -> Finished:
    """The end of a request to a service at any address, with `preview` as the last resort and a clock that does not wait."""
    case = CASES[name]
    assert case.credentials
    call = Call.of(case.model, case.credentials(url), None, FakeClock())
    return call.generate(Asked(Conversation("a red fox"), {"fallback": "preview", **node}))


@every_service
def test_auto_answers_like_the_model_that_it_names(name: str) -> None:
    model = CASES[name].model
    with auto(name) as call:
        done = call.generate(Asked(Conversation(f"a red fox --model {model}"), {"details": True}))
    result = done.result
    assert (result.model, result.answered_by, result.backend) == ("auto", model, name)
    assert (result.prompt, done.options) == ("a red fox", OutputOptions(details=True))
    assert all(min(image.size) > 0 for image in result.images)


@pytest.mark.parametrize("name", [name for name in SERVICES if CASES[name].edit_model])
def test_auto_takes_images_where_the_named_model_does(name: str) -> None:
    editor = CASES[name].edit_model
    with auto(name) as call:
        done = call.generate(Asked(Conversation("in winter", (PHOTO,)), {"model": editor}))
    assert done.result.answered_by == editor


@every_service
def test_too_many_images_are_refused_in_the_name_of_the_named_model(name: str) -> None:
    model = CASES[name].model
    with auto(name) as call, pytest.raises(BadRequest, match="input images") as refusal:
        call.generate(Asked(Conversation("in winter", (PHOTO,) * 20), {"model": model}))
    assert model in str(refusal.value)


@every_service
def test_an_address_where_nothing_answers_is_no_reason_to_fail(name: str) -> None:
    with broken_server() as server:
        url = server.url
    result = at(name, url).result
    assert (result.model, result.answered_by) == (CASES[name].model, "preview")
    assert "could not be reached" in result.notices[0]


@every_service
def test_an_account_without_credit_is_no_reason_to_fail(name: str, broken: Broken) -> None:
    broken.says(402, {"error": {"message": "refused for {keys}"}, "message": "refused for {keys}"})
    result = at(name, broken.url).result
    assert result.answered_by == "preview"
    assert MARKER_KEY not in str(result.notices)


@every_service
def test_a_wrong_key_is_told(name: str, broken: Broken) -> None:
    broken.says(401, {"error": {"message": "refused"}, "message": "refused"})
    with pytest.raises(AuthorizationFailed):
        at(name, broken.url)


@pytest.mark.parametrize("name", CHARGING)
def test_what_may_have_been_billed_is_told(name: str, broken: Broken) -> None:
    broken.hang_up = True
    with pytest.raises(ConnectionFailed) as told:
        at(name, broken.url)
    assert "preview" not in str(told.value)
    broken.hang_up = False
    for status, body in ((504, "upstream timed out"), (200, "{}")):
        broken.says(status, body)
        with pytest.raises(ImageError):
            at(name, broken.url)


@pytest.mark.parametrize("name", OWN)
def test_trouble_of_ones_own_server_lets_the_next_model_answer(name: str, broken: Broken) -> None:
    broken.hang_up = True
    assert at(name, broken.url).result.answered_by == "preview"
    broken.hang_up = False
    broken.says(504, "upstream timed out")
    assert at(name, broken.url).result.answered_by == "preview"


class TimedClock(FakeClock):
    """Ends every task of the fake Model Studio `after` seconds."""

    def __init__(self, studio: FakeModelStudio, after: float) -> None:
        super().__init__()
        self.studio, self.ends = studio, self.time + after

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.time >= self.ends:
            for task in self.studio._tasks.values():
                task.statuses = ["SUCCEEDED"]


@pytest.mark.parametrize(
    ("status", "answers", "cancelled"), [("PENDING", "preview", True), ("RUNNING", "qwen-image-plus", False)]
)
def test_a_task_that_is_billed_keeps_the_time_and_a_queued_one_makes_room(
    status: str, answers: str, *, cancelled: bool
) -> None:
    with model_studio(key=MARKER_KEY) as studio:
        studio.statuses = [status]
        form = {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": studio.url}
        call = Call.of("qwen-image-plus", form, None, TimedClock(studio, after=97))
        node = {"fallback": "preview", "timeout": 100}
        result = call.generate(Asked(Conversation("a red fox"), node)).result
        states = [task.status for task in studio._tasks.values()]
    assert (result.model, result.answered_by) == ("qwen-image-plus", answers)
    assert states == ["CANCELED" if cancelled else "SUCCEEDED"]


def test_a_stream_tells_who_is_asked() -> None:
    with broken_server() as server:
        url = server.url
    case = CASES["stability"]
    assert case.credentials
    call = Call.of(case.model, case.credentials(url), None, FakeClock())
    *told, done = call.narrated(Asked(Conversation("a red fox"), {"fallback": "preview"}))
    assert told == ["preview is asked"]
    assert isinstance(done, Finished)
    assert done.result.answered_by == "preview"
