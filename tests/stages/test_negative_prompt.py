"""The owner's default negative prompt."""

import pytest

from models.entities import ImageRequest
from models.parameters import RULES
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.negative_prompt import DefaultNegativePrompt
from tests.asking import carried
from tests.fakes import FakeClock
from tests.stubs import STUB_RULES, StubBackend

TEXT = Settings({"default_negative_prompt": " text, watermark "}, {})


@pytest.mark.parametrize(
    ("own", "combined"),
    [
        ("", "text, watermark"),
        ("blur", "blur, text, watermark"),
        ("blur, ", "blur, text, watermark"),
        ("no text, watermark, blur", "no text, watermark, blur"),
    ],
)
def test_it_follows_the_requests_own(own: str, combined: str) -> None:
    request = ImageRequest(model="m", prompt="a fox", negative_prompt=own)
    passed = DefaultNegativePrompt.read(TEXT)(request, carried(has_negative_prompt=True))
    assert passed.negative_prompt == combined
    assert passed.notices == ()


@pytest.mark.parametrize(
    ("rules", "sent"), [(STUB_RULES, ""), ((*STUB_RULES, RULES["negative_prompt"]), "text, watermark")]
)
def test_it_is_added_only_where_the_model_has_one(rules: tuple, sent: str, clock: FakeClock) -> None:  # type: ignore[type-arg]
    backend = StubBackend(clock, rules=rules)
    Call(backend, TEXT).generate(Asked(Conversation("a fox"), {}))
    assert [request.negative_prompt for request in backend.asked] == [sent]
