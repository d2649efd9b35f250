"""Intake: one checked request out of messages, node parameters and directives."""

import base64

import pytest
import responses

from models.backends.base import Capabilities
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.parameters import RULES
from models.request.build import build_request
from models.request.conversation import Conversation, ImagePart
from models.request.input_images import MAX_INPUT_BYTES
from tests.fakes import FakeClock, picture
from tests.stubs import STUB_RULES, StubBackend

EDITOR = Capabilities(images=3, mask=True)
INPAINTER = Capabilities(images=2, mask=True, second_image="mask")


def part(name: str = "photo.png", data: bytes | None = None) -> ImagePart:
    return ImagePart(base64.b64encode(data or picture()).decode(), "", name)


def build(
    prompt: str = "a fox",
    *images: ImagePart,
    able: Capabilities | None = None,
    earlier: ImagePart | None = None,
    **parameters: object,
) -> ImageRequest:
    backend = StubBackend(FakeClock(), able=able)
    return build_request(backend, Conversation(prompt, images, earlier), parameters, timeout=600)


def test_parameters_become_typed_fields() -> None:
    assert build(width="512", height=768.0, seed="42", n=2, details="true", temperature=0.7) == ImageRequest(
        model="stub-model", prompt="a fox", width=512, height=768, seeds=(42, 43), n=2, details=True, timeout=600
    )


def test_directives_override_parameters() -> None:
    request = build("a fox --size 640x480 --seed 7", width=1024, height=1024, seed=1)
    assert (request.prompt, request.width, request.height, request.seed) == ("a fox", 640, 480, 7)


def test_a_ratio_in_the_prompt_beats_the_nodes_size_and_keeps_its_pixels() -> None:
    assert build("a fox --ar 16:9", width=512, height=512).size == (683, 384)


def test_a_ratio_in_the_prompt_beats_one_side_of_the_node() -> None:
    assert build("a fox --ar 16:9", width=512).size == (1365, 768)


def test_minus_one_is_a_random_seed() -> None:
    assert len({build(seed=-1).seed for _ in range(5)}) > 1


def test_a_directive_that_the_model_cannot_express_is_said() -> None:
    assert build("a fox --steps 30").notices == ("`--steps` was ignored: stub-model has no parameter steps.",)


def test_a_backends_own_parameters_travel_in_extra() -> None:
    rule = RULES["n"].narrowed(name="clip_skip", default=None)
    backend = StubBackend(FakeClock(), rules=(*STUB_RULES, rule))
    request = build_request(backend, Conversation("a fox --clip_skip 2"), {}, timeout=60)
    assert request.extra == {"clip_skip": 2}


@pytest.mark.parametrize("prompt", ["", "   ", "--seed 4"])
def test_no_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadRequest, match="There is no prompt"):
        build(prompt)


def test_images_arrive_in_order_with_their_sniffed_type() -> None:
    request = build("join", part("a.png"), part("b.dat", picture(kind="JPEG")), able=EDITOR)
    assert [(image.filename, image.mime_type) for image in request.images] == [
        ("a.png", "image/png"),
        ("b.dat", "image/jpeg"),
    ]


def test_images_for_a_text_model_are_refused_unread() -> None:
    with pytest.raises(BadRequest, match="does not support input images"):
        build("a fox", ImagePart("", "http://127.0.0.1:9/never-fetched.png"))


def test_an_editing_model_falls_back_to_the_latest_earlier_image() -> None:
    able = Capabilities(images=1, min_images=1)
    assert build("make it blue", able=able, earlier=part("old.png")).images[0].filename == "old.png"


def test_a_model_that_need_not_edit_ignores_earlier_images() -> None:
    assert build("a fox", able=EDITOR, earlier=part("old.png")).images == ()


def test_the_mask_is_the_image_whose_name_says_so() -> None:
    request = build("fill", part("Mask-1.png"), part("photo.png"), able=EDITOR)
    assert request.mask is not None
    assert (request.mask.filename, [i.filename for i in request.images]) == ("Mask-1.png", ["photo.png"])


def test_for_inpainting_the_last_of_two_is_the_mask() -> None:
    request = build("fill", part("a.png"), part("b.png"), able=INPAINTER)
    assert request.mask is not None
    assert request.mask.filename == "b.png"


def test_for_inpainting_the_alpha_channel_is_the_mask_of_a_single_image() -> None:
    holed = picture(mode="RGBA", colour=(10, 20, 30, 0))
    assert build("fill", part("a.png", holed), able=INPAINTER).mask is not None
    assert build("fill", part("a.png"), able=INPAINTER).mask is None


def test_two_images_stay_two_images_for_an_editor() -> None:
    request = build("join", part("a.png"), part("b.png"), able=EDITOR)
    assert (len(request.images), request.mask) == (2, None)


@responses.activate
def test_an_image_behind_an_address_is_fetched_private_ones_too() -> None:
    responses.get("http://192.168.1.5/files/x.png?sign=a%2Bb", body=picture(), content_type="text/plain")
    request = build("edit", ImagePart("", "http://192.168.1.5/files/x.png?sign=a%2Bb", "x.png"), able=EDITOR)
    assert request.images[0] == InputImage(picture(), "image/png", "x.png")
    assert "Authorization" not in responses.calls[0].request.headers


@responses.activate
def test_an_address_without_an_image_is_refused_by_name() -> None:
    responses.get("http://files.example/x.png", body="<html>Forbidden</html>", content_type="text/html")
    with pytest.raises(BadRequest, match=r"x\.png"):
        build("edit", ImagePart("", "http://files.example/x.png", "x.png"), able=EDITOR)


@responses.activate
def test_an_expired_address_is_refused_in_words() -> None:
    responses.get("http://files.example/x.png", status=403, body="<Error>AccessDenied</Error>")
    with pytest.raises(Exception, match=r"Fetching x\.png failed"):
        build("edit", ImagePart("", "http://files.example/x.png", "x.png"), able=EDITOR)


def test_broken_base64_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"a\.png is not valid base64"):
        build("edit", ImagePart("$$$", "", "a.png"), able=EDITOR)


@responses.activate
def test_an_image_that_is_too_large_to_fetch_is_the_users_to_make_smaller() -> None:
    responses.get("http://files.example/x.png", body=bytes(MAX_INPUT_BYTES + 1))
    with pytest.raises(BadRequest) as refusal:
        build("edit", ImagePart("", "http://files.example/x.png", "x.png"), able=EDITOR)
    assert str(refusal.value) == "x.png is larger than 32 MiB. Send a smaller file."


def test_a_link_of_a_dify_without_files_url_says_what_to_set() -> None:
    with pytest.raises(BadRequest, match="Set FILES_URL in Dify's environment"):
        build("edit", ImagePart("", "/files/1/file-preview?sign=x", "x.png"), able=EDITOR)


def test_an_image_without_content_is_refused() -> None:
    with pytest.raises(BadRequest, match="came without content"):
        build("edit", ImagePart("", "", "a.png"), able=EDITOR)


def test_a_data_uri_is_read_like_base64() -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert build("edit", ImagePart("", uri, "a.png"), able=EDITOR).images[0].data == picture()


def test_a_mask_stays_a_mask_for_a_model_that_takes_none() -> None:
    """The backend refuses it by name; painted from like an image it would spoil the result without a word."""
    request = build("fill", part("mask.png"), part("photo.png"), able=Capabilities(images=3))
    assert request.mask is not None
    assert len(request.images) == 1
