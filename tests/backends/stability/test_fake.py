"""The fake of Stability AI refuses the same requests as the real service."""

from collections.abc import Iterator

import pytest

from models.backends.http import FormField, Service, bearer_auth
from models.backends.reply import Reply
from models.backends.stability.wire import read_v2beta
from models.clock import Deadline
from tests.fakes import FakeClock, image_file
from tests.servers.stability import KEY, REFUSALS, FakeStability

CORE = "/v2beta/stable-image/generate/core"
SD3 = "/v2beta/stable-image/generate/sd3"
ULTRA = "/v2beta/stable-image/generate/ultra"
CLIENT = {"stability-client-id": "test", "stability-client-version": "1"}
IMAGE: FormField = ("image", image_file(100, 100), "image/png")


@pytest.fixture
def fake() -> Iterator[FakeStability]:
    with FakeStability() as server:
        yield server


def post(
    fake: FakeStability, path: str, *, form: dict[str, FormField] | None = None, json: dict[str, object] | None = None,
    **headers: str,
) -> Reply:  # fmt: skip
    clock = FakeClock()
    service = Service(name="fake", base_url=fake.url, clock=clock, headers={**bearer_auth(KEY), **CLIENT})
    return service.request(
        "POST",
        path,
        attempt="Asking",
        deadline=Deadline.after(clock, 60),
        form=form,
        json=json,
        headers=headers,
        accept=tuple(range(400, 600)),
    )


@pytest.mark.parametrize(
    ("path", "form", "status", "word"),
    [
        (CORE, {"seed": "1"}, 400, "prompt"),
        (CORE, {"prompt": ""}, 400, "prompt"),
        (CORE, {"prompt": "x" * 10_001}, 400, "prompt"),
        (CORE, {"prompt": "a fox", "aspect_ratio": "4:3"}, 400, "aspect_ratio"),
        (CORE, {"prompt": "a fox", "seed": "4294967295"}, 400, "seed"),
        (CORE, {"prompt": "a fox", "seed": "-1"}, 400, "seed"),
        (CORE, {"prompt": "a fox", "seed": "1.5"}, 400, "seed"),
        (CORE, {"prompt": "a fox", "output_format": "gif"}, 400, "output_format"),
        (CORE, {"prompt": "a fox", "style_preset": "baroque"}, 400, "style_preset"),
        (CORE, {"prompt": "a fox", "width": "512"}, 400, "width"),
        (CORE, {"prompt": ("prompt.txt", b"a fox", "text/plain")}, 400, "prompt"),
        (CORE, {"prompt": "a fox", "image": IMAGE}, 400, "image"),
        (CORE, {"prompt": "红狐狸"}, 422, "English"),
        (SD3, {"prompt": "a fox", "model": "sd4"}, 400, "model"),
        (SD3, {"prompt": "a fox", "cfg_scale": "11"}, 400, "cfg_scale"),
        (SD3, {"prompt": "a fox", "image": IMAGE, "strength": "0.5"}, 400, "mode"),
        (
            SD3,
            {"prompt": "a", "image": IMAGE, "strength": "1", "mode": "image-to-image", "aspect_ratio": "1:1"},
            400,
            "aspect_ratio",
        ),
        (ULTRA, {"prompt": "a fox", "image": IMAGE}, 400, "strength"),
        (ULTRA, {"prompt": "a fox", "strength": "0.5"}, 400, "strength"),
        (ULTRA, {"prompt": "a", "image": IMAGE, "strength": "1.5"}, 400, "strength"),
        (ULTRA, {"prompt": "a", "image": ("i", image_file(32, 32), "image/png"), "strength": "1"}, 400, "64"),
        (ULTRA, {"prompt": "a", "image": ("i", b"GIF89a", "image/png"), "strength": "1"}, 400, "image"),
        (ULTRA, {"prompt": "a", "image": ("i", bytes(11 * 1024**2), "image/png"), "strength": "1"}, 413, "10MiB"),
        ("/v2beta/stable-image/generate/nano", {"prompt": "a fox"}, 404, "not_found"),
    ],
)
def test_a_wrong_form_is_refused(
    fake: FakeStability, path: str, form: dict[str, FormField], status: int, word: str
) -> None:
    before = fake.balance
    reply = post(fake, path, form=form)
    assert reply.status == status
    assert word in reply.text
    assert fake.balance == before


def test_a_body_that_is_no_form_is_refused(fake: FakeStability) -> None:
    reply = post(fake, CORE, json={"prompt": "a fox"})
    assert (reply.status, reply.body) == (400, REFUSALS["not_multipart"].body())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"width": 1000, "height": 1000}, "invalid_height_or_width"),
        ({"width": 512, "height": 512}, "invalid_sdxl_v1_dimensions"),
        ({"steps": 9}, "bad_request"),
        ({"steps": 51}, "bad_request"),
        ({"samples": 11}, "bad_request"),
        ({"negative_prompt": "x"}, "bad_request"),
        ({"sampler": "euler"}, "bad_request"),
        ({"text_prompts": []}, "bad_request"),
    ],
)
def test_a_wrong_v1_body_is_refused(fake: FakeStability, change: dict[str, object], name: str) -> None:
    body = {"text_prompts": [{"text": "a fox", "weight": 1}], "width": 1024, "height": 1024, **change}
    reply = post(fake, "/v1/generation/stable-diffusion-xl-1024-v1-0/text-to-image", json=body)
    assert (reply.status, f'"name": "{name}"' in reply.text) == (400, True)


def test_the_byte_form_of_an_answer_carries_seed_and_reason_in_its_headers(fake: FakeStability) -> None:
    reply = post(fake, CORE, form={"prompt": "a fox", "seed": "9", "output_format": "webp"}, Accept="image/*")
    assert reply.headers["content-type"] == "image/webp"
    (made,) = read_v2beta(reply, sent_seed=1).images
    assert (made.seed, made.mime_type) == (9, "image/webp")


def test_the_json_reply_contains_the_image_type(fake: FakeStability) -> None:
    reply = post(fake, CORE, form={"prompt": "a fox", "output_format": "jpeg"}, Accept="application/json")
    assert reply.headers["content-type"] == "application/json; type=image/jpeg"
    assert "seed" not in reply.headers
    assert [image.mime_type for image in read_v2beta(reply, sent_seed=1).images] == ["image/jpeg"]


def test_too_many_calls_block_the_key(fake: FakeStability) -> None:
    fake.throttle = 3
    statuses = [post(fake, CORE, form={"prompt": "a fox"}, Accept="application/json").status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


def test_every_image_is_charged(fake: FakeStability) -> None:
    fake.balance = 10.0
    assert post(fake, ULTRA, form={"prompt": "a fox"}).ok
    assert fake.balance == 2.0
    assert post(fake, ULTRA, form={"prompt": "a fox"}).status == 402
