"""Parameters that a node sends: switched on with their default, and the empty prompt of upscaling."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.catalog import cards
from models.entities import ImageRequest, ImageResult
from models.parameters import Rule
from models.request.build import build_request
from models.request.conversation import Conversation
from tests.asking import bound, image_part
from tests.fakes import image_file
from tests.servers.automatic1111 import FakeWebUI

RULES = cards()["automatic1111"].rules
NUMBERS = [rule for rule in RULES if rule.type in {"int", "float"}]


@pytest.fixture
def webui() -> Iterator[FakeWebUI]:
    with FakeWebUI().run() as fake:
        yield fake
        assert fake.unknown_fields == set()


def switched_on(rule: Rule) -> object:
    """The value that Dify sends for a parameter that is switched on but not changed."""
    match rule.type:
        case "int" | "float":
            return rule.min or 0 if rule.default is None else rule.default
        case "boolean":
            return rule.default or False
        case "string" | "text":
            return rule.default or ""


def requested(
    backend: Backend, parameters: dict[str, object], *images: bytes, prompt: str = "a fox"
) -> tuple[ImageRequest, ImageResult]:
    parts = tuple(image_part(base64.b64encode(image).decode(), "", "photo.png") for image in images)
    request = build_request(backend, Conversation(prompt, parts), parameters, timeout=20)
    return request, backend.invoke(request)


def body_of(webui: FakeWebUI, path: str, parameters: dict[str, object], *images: bytes) -> dict[str, Any]:
    """The body that was sent, without values that differ between requests."""
    backend = bound("automatic1111", {"automatic1111_base_url": webui.url})
    _, result = requested(backend, parameters, *images)
    assert result.notices == ()
    body = webui.bodies(path)[-1]
    return {name: value for name, value in body.items() if name not in {"seed", "force_task_id"}}


def test_every_number_has_a_default() -> None:
    assert [rule.name for rule in NUMBERS if rule.default is None] == []


@pytest.mark.parametrize(
    ("path", "images"), [("/sdapi/v1/txt2img", ()), ("/sdapi/v1/img2img", (image_file(512, 512),))], ids=["txt", "img"]
)
def test_switching_on_all_parameters_sends_the_same_request(
    webui: FakeWebUI, path: str, images: tuple[bytes, ...]
) -> None:
    left_out = body_of(webui, path, {}, *images)
    all_on = body_of(webui, path, {rule.name: switched_on(rule) for rule in RULES}, *images)
    # A boolean is sent as false, where the server's setting could be true; the default of img2img is sent explicitly.
    explicit = {"restore_faces": False, "tiling": False, **({"denoising_strength": 0.75} if images else {})}
    assert all_on == {**left_out, **explicit}
    assert (all_on["width"], all_on["height"], all_on["steps"]) == (512, 512, 20)


@pytest.mark.parametrize("rule", NUMBERS, ids=lambda rule: rule.name)
def test_switching_one_number_on_changes_nothing(webui: FakeWebUI, rule: Rule) -> None:
    alone = body_of(webui, "/sdapi/v1/txt2img", {rule.name: switched_on(rule)})
    assert alone == body_of(webui, "/sdapi/v1/txt2img", {})


def test_one_side_alone_keeps_the_default_shape(webui: FakeWebUI) -> None:
    body = body_of(webui, "/sdapi/v1/txt2img", {"width": 768})
    assert (body["width"], body["height"]) == (768, 768)


@pytest.mark.parametrize("parameters", [{"upscale_by": 2}, {"upscaler": "Lanczos"}])
def test_upscaling_needs_no_prompt(webui: FakeWebUI, parameters: dict[str, object]) -> None:
    backend = bound("automatic1111", {"automatic1111_base_url": webui.url})
    request, result = requested(backend, parameters, image_file(40, 30), prompt="")
    assert [image.size for image in result.images] == [(80, 60)]
    assert (request.size, request.seeds) == ((80, 60), ())


@pytest.mark.parametrize("parameters", [{}, {"upscale_by": 0, "upscaler": ""}])
def test_everything_else_needs_a_prompt(webui: FakeWebUI, parameters: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match="There is no prompt"):
        requested(bound("automatic1111", {"automatic1111_base_url": webui.url}), parameters, image_file(), prompt="")
