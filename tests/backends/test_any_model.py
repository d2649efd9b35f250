"""The template of services that run anybody's models: what is known of a model, and when the service is asked."""

from collections.abc import Sequence

import pytest

from models.backends.any_model import AnyModelBackend, data_urls
from models.backends.base import Capabilities, Model, Running
from models.backends.model_inputs import ModelForm, ModelInputs
from models.backends.partial import Partial
from models.backends.reply import Reply
from models.backends.tasks import Task
from models.catalog import cards
from models.clock import Deadline
from models.entities import ImageRequest, InputImage
from models.parameters import RULES
from models.settings import Access
from models.sizes import RatioSizes, SeedRule
from tests.fakes import FakeClock, image_file

PHOTO, MASK = (InputImage(image_file(colour=colour), "image/png") for colour in ("red", "white"))
REQUEST = ImageRequest(model="m", prompt="a fox")
SCHEMA = ModelForm(ModelInputs(names={"seed": "seed"}, image="image", images=2, min_images=1), (RULES["seed"],))


class AnyStub(AnyModelBackend):
    """A service with the cards of Replicate; it tells `form` of each model."""

    name, title, prefix = "replicate", "Stub", "stub"
    form: ModelForm | None = SCHEMA

    def __init__(self, clock: FakeClock, remote: str, key: str = "k") -> None:
        super().__init__(Model("m", remote, Access(prefix="stub", base_url="http://stub", api_key=key), None), clock)
        self.asked = 0

    def _read_form(self, deadline: Deadline) -> ModelForm | None:
        self.asked += 1
        return self.form

    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        raise NotImplementedError

    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        raise NotImplementedError

    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        raise NotImplementedError

    def check_access(self) -> Sequence[str]:
        return ()


@pytest.mark.parametrize("remote", ["replicate-flux-schnell", "black-forest-labs/flux-schnell"])
def test_a_model_with_a_card_is_known_by_both_of_its_names(clock: FakeClock, remote: str) -> None:
    backend, card = AnyStub(clock, remote), cards()["replicate-flux-schnell"]
    backend.learn(backend.within(5))
    assert (backend.remote, backend.rules(), backend.asked) == (card.facts["model"], card.rules, 0)
    assert backend.inputs.names["steps"] == "num_inference_steps"
    assert backend.sizes(REQUEST) == backend.inputs.sizes


def test_a_model_without_a_card_is_learned_from_its_schema(clock: FakeClock) -> None:
    backend = AnyStub(clock, "acme/own")
    assert (backend.remote, backend.seeds(REQUEST)) == ("acme/own", None)
    assert backend.live_form(backend.within(5)) == backend.rules() == SCHEMA.rules
    assert backend.capabilities == Capabilities(images=2, min_images=1, mask=False)
    assert (backend.sizes(REQUEST), backend.seeds(REQUEST)) == (None, SeedRule(highest=2_147_483_647))
    backend.learn(backend.within(5))
    assert backend.asked == 1


def test_a_model_without_a_schema_takes_what_most_models_take(clock: FakeClock) -> None:
    backend = AnyStub(clock, "acme/silent")
    backend.form = None
    backend.learn(backend.within(5))
    assert backend.capabilities == Capabilities(images=1, min_images=0, mask=False)
    assert isinstance(backend.sizes(REQUEST), RatioSizes)
    assert [rule.name for rule in backend.rules()] == [
        "aspect_ratio",
        "n",
        "output_format",
        "output_quality",
        "details",
        "timeout",
    ]


def test_a_schema_is_kept_for_an_hour_and_each_account(clock: FakeClock) -> None:
    def times_asked(remote: str = "acme/kept", key: str = "k") -> int:
        backend = AnyStub(clock, remote, key)
        backend.learn(backend.within(5))
        assert backend.rules() == SCHEMA.rules
        return backend.asked

    assert [times_asked(), times_asked(), times_asked("acme/other"), times_asked(key="other")] == [1, 0, 1, 1]
    clock.sleep(3599)
    assert times_asked() == 0
    clock.sleep(1)
    assert times_asked() == 1


def test_the_mask_comes_after_the_images() -> None:
    assert data_urls(REQUEST) == ()
    masked = ImageRequest(model="m", prompt="a fox", images=(PHOTO, PHOTO), mask=MASK)
    assert data_urls(masked) == (PHOTO.data_url, PHOTO.data_url, MASK.data_url)
