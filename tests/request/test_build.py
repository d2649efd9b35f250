"""Builds one checked request from messages, node parameters and directives."""

import base64

import pytest
import responses
from dify_plugin.entities.model.message import ImagePromptMessageContent

from models.backends.base import Capabilities
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.parameters import RULES
from models.request.build import LOOK, build_request
from models.request.conversation import MAX_INPUT_BYTES, Conversation
from tests.asking import image_part
from tests.fakes import FakeClock, image_file
from tests.stubs import STUB_RULES, StubBackend

EDITOR = Capabilities(images=3, mask=True, second_image="image")
INPAINTER = Capabilities(images=2, mask=True)


def part(name: str = "photo.png", data: bytes | None = None) -> ImagePromptMessageContent:
    return image_part(base64.b64encode(data or image_file()).decode(), "", name)


def build(
    prompt: str = "a fox",
    *images: ImagePromptMessageContent,
    able: Capabilities | None = None,
    earlier: ImagePromptMessageContent | None = None,
    **parameters: object,
) -> ImageRequest:
    backend = StubBackend(FakeClock(), able=able)
    return build_request(backend, Conversation(prompt, images, earlier), parameters, timeout=600)


def test_parameters_become_typed_fields() -> None:
    assert build(width="512", height=768.0, seed="42", n=2, details="true", temperature=0.7) == ImageRequest(
        model="stub-model",
        prompt="a fox",
        width=512,
        height=768,
        seeds=(42, 43),
        asked_seed=42,
        n=2,
        details=True,
        timeout=600,
    )


def test_directives_override_parameters() -> None:
    request = build("a fox --size 640x480 --seed 7", width=1024, height=1024, seed=1, directives="all")
    assert (request.prompt, request.width, request.height, request.seed) == ("a fox", 640, 480, 7)
    assert request.notices == (
        "The node's `width` and `height` lost to `--size 640x480`.",
        "The node's `seed` lost to `--seed 7`.",
    )


@pytest.mark.parametrize("given", [7, "7", -1, "", None])
def test_a_value_of_the_node_that_loses_nothing_to_a_directive_gives_no_notice(given: object) -> None:
    assert build("a fox --seed 7", seed=given).notices == ()


@pytest.mark.parametrize(
    ("policy", "n", "seed"),
    [("all", 3, 7), ("look", 1, 7), ("", 1, 7), (None, 1, 7), ("LOOK", 1, 7), ("off", 1, 1), (False, 1, 1)],
)
def test_the_node_decides_which_directives_apply_and_ignored_ones_give_a_notice(
    policy: str | None, n: int, seed: int
) -> None:
    request = build("a fox --n 3 --seed 7", seed=1, directives=policy)
    assert (request.prompt, request.n, request.seed) == ("a fox", n, seed)
    lost = ("The node's `seed` lost to `--seed 7`.",) if seed == 7 else ()
    ignored = request.notices[: len(request.notices) - len(lost)]
    assert request.notices == (*ignored, *lost)
    off, look = "the node's `directives` is off", "the node's `directives` allows only what changes the look"
    reason = off if policy in {"off", False} else "" if policy == "all" else look
    assert [notice.split(":")[0] for notice in ignored[:1]] == (["`--n 3` was ignored"] if reason else [])
    assert all(reason in notice for notice in ignored)


def test_an_unknown_value_of_directives_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"`directives` cannot be 'some'\. Give one of look, all, off"):
        build(directives="some")


def test_a_directive_cannot_change_the_directives_parameter() -> None:
    request = build("a fox --directives all --n 3", directives="look")
    assert request.n == 1
    assert "`--directives all` was ignored: only the node sets it." in request.notices
    assert "directives" not in request.extra


def test_the_look_parameters_are_those_of_the_contract() -> None:
    listed = {
        *("aspect_ratio", "negative_prompt", "seed", "style_preset", "sampler", "scheduler", "cfg_scale"),
        *("denoising_strength", "output_format", "output_quality", "prompt_extend", "details"),
    }
    assert listed <= LOOK
    assert not LOOK & {"n", "width", "height", "steps", "timeout", "watermark", "checkpoint"}


def test_a_forbidden_size_directive_is_quoted_in_the_notice() -> None:
    request = build("a fox --size 64x64", width=512, height=512)
    assert request.size == (512, 512)
    assert [notice[:29] for notice in request.notices] == ["`--size 64x64` was ignored: t"]


def test_a_size_directive_overrides_a_ratio_directive() -> None:
    request = build("a fox --ar 16:9 --size 64x64", directives="all")
    assert request.size == (64, 64)
    assert request.notices == ("`--ar 16:9` lost to `--size 64x64`.",)


@pytest.mark.parametrize(
    ("prompt", "name", "value", "told"),
    [
        ("a fox --n 40", "n", 10, "`--n 40` became 10, the nearest value that stub-model takes."),
        ("a fox --n 0", "n", 1, "`--n 0` became 1, the nearest value that stub-model takes."),
        ("a fox --n 2.6", "n", 3, "`--n 2.6` became 3, the nearest value that stub-model takes."),
        (
            "a fox --quality 400",
            "output_quality",
            100,
            "`--quality 400` became 100, the nearest value that stub-model takes.",
        ),
        ("a fox --n auto", "n", 1, "`--n auto` was ignored: stub-model decides what is not set."),
        ("a fox --size auto", "width", None, "`--size auto` was ignored: stub-model decides what is not set."),
    ],
)
def test_an_inexact_value_becomes_the_nearest_with_a_notice(prompt: str, name: str, value: object, told: str) -> None:
    request = build(prompt, directives="all")
    assert getattr(request, name) == value
    assert request.notices == (told,)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a fox --n many", "`n` cannot be 'many'"),
        ("a fox --seed 99999999999999999999", "`seed` cannot be"),
        ("a fox --format tga", "`output_format` cannot be 'tga'"),
        ("a fox --ar wide", "`aspect_ratio` cannot be 'wide'"),
        ("a fox --size large", "`width` cannot be 'large'"),
    ],
)
def test_an_ambiguous_value_is_refused(prompt: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        build(prompt, directives="all")


@pytest.mark.parametrize("ratio", ["16:9", "16/9", "16x9", "16：9", "16 : 9"])
def test_a_ratio_is_read_in_every_spelling_in_the_node(ratio: str) -> None:
    assert build(aspect_ratio=ratio).size == build("a fox --ar 16:9").size


def test_a_random_seed_directive_overrides_the_nodes_seed() -> None:
    assert len({build("a fox --seed -1", seed=5).seed for _ in range(5)}) > 1


def test_notices_of_the_conversation_come_first() -> None:
    backend = StubBackend(FakeClock())
    request = build_request(backend, Conversation("a fox --steps 3", notices=("Left out.",)), {}, timeout=60)
    assert request.notices == ("Left out.", "`--steps 3` was ignored: stub-model has no parameter steps.")


def test_a_ratio_directive_overrides_the_nodes_size_and_keeps_its_pixels() -> None:
    assert build("a fox --ar 16:9", width=512, height=512).size == (683, 384)


def test_a_ratio_directive_overrides_one_side_of_the_node() -> None:
    assert build("a fox --ar 16:9", width=512).size == (1365, 768)


def test_minus_one_is_a_random_seed() -> None:
    assert len({build(seed=-1).seed for _ in range(5)}) > 1


def test_an_unsupported_directive_gives_a_notice() -> None:
    assert build("a fox --steps 30").notices == ("`--steps 30` was ignored: stub-model has no parameter steps.",)


def test_backend_parameters_are_passed_in_extra() -> None:
    rule = RULES["n"].narrowed(name="clip_skip", default=None)
    backend = StubBackend(FakeClock(), rules=(*STUB_RULES, rule))
    request = build_request(backend, Conversation("a fox --clip_skip 2"), {"directives": "all"}, timeout=60)
    assert request.extra == {"clip_skip": 2}


@pytest.mark.parametrize("prompt", ["", "   ", "--seed 4"])
def test_no_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadRequest, match="There is no prompt"):
        build(prompt)


def test_images_keep_their_order_and_have_their_sniffed_type() -> None:
    request = build("join", part("a.png"), part("b.dat", image_file(kind="JPEG")), able=EDITOR)
    assert [(image.filename, image.mime_type) for image in request.images] == [
        ("a.png", "image/png"),
        ("b.dat", "image/jpeg"),
    ]


def test_images_for_a_txt2img_model_are_refused_unread() -> None:
    with pytest.raises(BadRequest, match="does not support input images"):
        build("a fox", image_part("", "http://127.0.0.1:9/never-fetched.png"))


def test_an_editing_model_uses_the_latest_earlier_image() -> None:
    able = Capabilities(images=1, min_images=1)
    assert build("make it blue", able=able, earlier=part("old.png")).images[0].filename == "old.png"


def test_a_model_that_does_not_require_images_ignores_earlier_ones() -> None:
    assert build("a fox", able=EDITOR, earlier=part("old.png")).images == ()


GREY = image_file(colour=(90, 90, 90))
HOLED = image_file(mode="RGBA", colour=(10, 20, 30, 0))


@pytest.mark.parametrize(
    "data", [GREY, HOLED, image_file(mode="L", colour=255), image_file(kind="JPEG", colour=(0, 0, 0))]
)
@pytest.mark.parametrize("name", ["Mask-1.png", "mask.png", "the mask.png", "photo_mask_2.png", "masks.png"])
def test_the_mask_is_the_mask_like_image_with_mask_in_its_name(data: bytes, name: str) -> None:
    request = build("fill", part(name, data), part("photo.png"), able=EDITOR)
    assert request.mask is not None
    assert (request.mask.filename, [i.filename for i in request.images]) == (name, ["photo.png"])


def test_a_colour_photo_is_never_the_mask() -> None:
    request = build("put it on", part("sheet_mask_rose.png"), part("model.png"), able=EDITOR)
    assert (len(request.images), request.mask) == (2, None)
    request = build("fill", part("mask_photo.png"), part("mask.png", GREY), able=EDITOR)
    assert request.mask is not None
    assert request.mask.filename == "mask.png"


@pytest.mark.parametrize("name", ["unmasked.png", "damask.png", "maskenball.png"])
def test_a_word_that_contains_mask_is_not_a_mask_name(name: str) -> None:
    request = build("join", part(name, GREY), part("b.png"), able=EDITOR)
    assert (len(request.images), request.mask) == (2, None)


def test_for_inpainting_the_last_of_two_is_the_mask() -> None:
    request = build("fill", part("a.png"), part("b.png"), able=INPAINTER)
    assert request.mask is not None
    assert request.mask.filename == "b.png"


def test_for_inpainting_the_alpha_channel_is_the_mask_of_a_single_image() -> None:
    holed = image_file(mode="RGBA", colour=(10, 20, 30, 0))
    assert build("fill", part("a.png", holed), able=INPAINTER).mask is not None
    assert build("fill", part("a.png"), able=INPAINTER).mask is None


@pytest.mark.parametrize(
    ("able", "names", "kept", "mask"),
    [
        (INPAINTER, ["a.png", "b.png"], ["a.png"], "b.png"),
        (Capabilities(images=3, mask=True), ["a.png", "b.png", "c.png"], ["a.png", "b.png", "c.png"], None),
        (INPAINTER, ["mask.png"], ["mask.png"], None),
        (Capabilities(images=2), ["a.png", "b.png"], ["a.png", "b.png"], None),
        (Capabilities(images=2, mask=True, links=True), ["mask.png", "b.png"], ["mask.png", "b.png"], None),
        (Capabilities(images=2, min_images=1), ["a.png"], ["a.png"], None),
    ],
)
def test_which_images_are_kept_and_which_is_the_mask(
    able: Capabilities, names: list[str], kept: list[str], mask: str | None
) -> None:
    """An earlier image is taken only where the turn has none."""
    request = build("fill", *(part(name, GREY) for name in names), able=able, earlier=part("old.png"))
    assert [image.filename for image in request.images] == kept
    assert (request.mask.filename if request.mask else None) == mask


@pytest.mark.parametrize(
    ("able", "has_mask"),
    [
        (EDITOR, False),
        (Capabilities(images=1, mask=True, second_image="image", alpha_is_mask=True), True),
        (Capabilities(images=1, alpha_is_mask=True), True),
        (Capabilities(images=1), False),
    ],
)
def test_transparency_is_a_mask_where_the_model_says_so(able: Capabilities, *, has_mask: bool) -> None:
    request = build("fill", part("a.png", HOLED), able=able)
    assert (len(request.images), request.mask is not None) == (1, has_mask)


def test_a_style_is_taken_in_any_case_or_told_to_be_unknown() -> None:
    rule = RULES["style_preset"].narrowed(options=("anime", "auto"))
    backend = StubBackend(FakeClock(), rules=(*STUB_RULES, rule))

    def style(prompt: str) -> tuple[str | None, tuple[str, ...]]:
        request = build_request(backend, Conversation(prompt), {}, timeout=60)
        return request.style_preset, request.notices

    assert style("a fox --style ANIME") == ("anime", ())
    assert style("a fox --style auto") == ("auto", ())
    assert style("a fox --style raw") == (None, ("`--style raw` was ignored: stub-model has no such style.",))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a fox --ar 1:1 --width 50 --height 60", ("`--ar 1:1` lost to `--width 50`.",)),
        ("a fox --ar 1:1 --width 50", ()),
        ("a fox --width 50 --height 60", ()),
        ("a fox --ar 1:1", ()),
    ],
)
def test_a_ratio_loses_to_a_whole_size_only(prompt: str, told: tuple[str, ...]) -> None:
    assert build(prompt, directives="all").notices == told


def test_two_images_stay_two_images_for_an_editor() -> None:
    request = build("join", part("a.png"), part("b.png"), able=EDITOR)
    assert (len(request.images), request.mask) == (2, None)


@responses.activate
def test_an_image_url_is_downloaded_also_from_a_private_address() -> None:
    responses.get("http://192.168.1.5/files/x.png?sign=a%2Bb", body=image_file(), content_type="text/plain")
    request = build("edit", image_part("", "http://192.168.1.5/files/x.png?sign=a%2Bb", "x.png"), able=EDITOR)
    assert request.images[0] == InputImage(image_file(), "image/png", "x.png")
    assert "Authorization" not in responses.calls[0].request.headers


@responses.activate
def test_a_url_without_an_image_is_refused_by_name() -> None:
    responses.get("http://files.example/x.png", body="<html>Forbidden</html>", content_type="text/html")
    with pytest.raises(BadRequest, match=r"x\.png"):
        build("edit", image_part("", "http://files.example/x.png", "x.png"), able=EDITOR)


@responses.activate
def test_an_expired_url_is_refused_with_a_message() -> None:
    responses.get("http://files.example/x.png", status=403, body="<Error>AccessDenied</Error>")
    with pytest.raises(Exception, match=r"Fetching x\.png failed"):
        build("edit", image_part("", "http://files.example/x.png", "x.png"), able=EDITOR)


def test_broken_base64_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"a\.png is not valid base64"):
        build("edit", image_part("$$$", "", "a.png"), able=EDITOR)


@responses.activate
def test_an_image_too_large_to_download_is_a_bad_request() -> None:
    responses.get("http://files.example/x.png", body=bytes(MAX_INPUT_BYTES + 1))
    with pytest.raises(BadRequest) as refusal:
        build("edit", image_part("", "http://files.example/x.png", "x.png"), able=EDITOR)
    assert str(refusal.value) == "x.png is larger than 32 MiB. Send a smaller file."


def test_a_link_without_a_host_names_the_setting_in_dify() -> None:
    with pytest.raises(BadRequest, match="Set FILES_URL in Dify's environment"):
        build("edit", image_part("", "/files/1/file-preview?sign=x", "x.png"), able=EDITOR)


def test_an_image_without_content_is_refused() -> None:
    for name, said in (("a.png", "a.png"), ("", "The input image")):
        with pytest.raises(BadRequest, match=f"^{said} came without content"):
            build("edit", image_part("", "", name), able=EDITOR)


def test_a_data_uri_is_read_like_base64() -> None:
    uri = "data:image/png;base64," + base64.b64encode(image_file()).decode()
    assert build("edit", image_part("", uri, "a.png"), able=EDITOR).images[0].data == image_file()


def test_a_mask_stays_a_mask_for_a_model_that_takes_none() -> None:
    """The backend refuses it by name; used as an image it would silently spoil the result."""
    request = build("fill", part("mask.png", GREY), part("photo.png"), able=Capabilities(images=3))
    assert request.mask is not None
    assert len(request.images) == 1
