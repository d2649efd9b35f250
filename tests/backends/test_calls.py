"""The template of services that make each image in one call."""

from collections.abc import Sequence
from decimal import Decimal

import gevent
import pytest

from models.backends.base import Model
from models.backends.calls import CallBackend, CallFacts
from models.backends.partial import Partial
from models.catalog import cards
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, Price
from models.settings import Access
from models.sizes import FreeSizes
from tests.fakes import FakeClock, image_file

MADE = GeneratedImage(image_file())


class CallStub(CallBackend[CallFacts]):
    """A service with the cards of Zhipu."""

    name, title, prefix = "zhipu", "Stub", "stub"
    facts_type, like = CallFacts, "glm-image"

    def __init__(self, clock: FakeClock, remote: str) -> None:
        super().__init__(Model("m", remote, Access(prefix="stub"), None), clock)
        self.places: list[int] = []
        self.running = self.most = 0

    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        self.places.append(place)
        self.running += 1
        self.most = max(self.most, self.running)
        gevent.sleep(0)
        self.running -= 1
        return Partial((MADE,))

    def check_access(self) -> Sequence[str]:
        return ()


def asked(n: int) -> ImageRequest:
    return ImageRequest(model="m", prompt="a fox", n=n, timeout=60)


@pytest.mark.parametrize("remote", ["glm-image", str(cards()["glm-image"].facts["model"])])
def test_a_model_with_a_card_has_its_facts(clock: FakeClock, remote: str) -> None:
    backend, card = CallStub(clock, remote), cards()["glm-image"]
    assert backend.known
    assert (backend.facts.model, backend.rules()) == (card.facts["model"], card.rules)
    assert backend.sizes(asked(1)) == backend.facts.sizes
    assert backend.capabilities.images == backend.facts.images


def test_a_model_without_a_card_is_asked_like_another_under_its_own_name(clock: FakeClock) -> None:
    known, other = CallStub(clock, "glm-image"), CallStub(clock, "glm-next")
    assert not other.known
    assert other.facts == known.facts.model_copy(update={"model": "glm-next"})
    assert other.rules() == known.rules()
    assert CallFacts(model="x", sizes=FreeSizes()).images == 0


def test_each_image_is_a_call_and_four_run_at_once(clock: FakeClock) -> None:
    backend = CallStub(clock, "glm-image")
    result = backend.invoke(asked(6))
    assert (sorted(backend.places), backend.most) == ([0, 1, 2, 3, 4, 5], 4)
    assert (result.images, result.price) == ((MADE,) * 6, None)


def test_the_price_is_that_of_the_images_that_were_made(clock: FakeClock) -> None:
    class Priced(CallStub):
        def _price(self, request: ImageRequest, images: int) -> Price:
            return Price(Decimal(images), "USD")

    assert Priced(clock, "glm-image").invoke(asked(3)).price == Price(Decimal(3), "USD")
