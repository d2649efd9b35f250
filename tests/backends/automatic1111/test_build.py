"""Request bodies and the roles of input images, without a server."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from models.backends.automatic1111.build import (
    EXTRA_RULES,
    Generation,
    Options,
    ResolvedNames,
    build,
    without_effect,
)
from models.backends.automatic1111.images import assign_roles, build_upscale, upscale_notices
from models.backends.automatic1111.server_lists import Name
from models.backends.errors import BadRequest
from models.catalog import cards
from models.entities import ImageRequest, InputImage
from models.images.inputs import alpha_mask
from models.parameters import RULES
from tests.asking import asked, bound
from tests.fakes import image_file

NOTHING = ResolvedNames()


type Wish = dict[str, Any]


def wish(**fields: Any) -> Wish:
    return fields


def settled(fields: Wish, extra: Wish) -> ImageRequest:
    backend = bound("automatic1111", {"automatic1111_base_url": "http://127.0.0.1:1"})
    return asked(backend, "a fox", **fields, extra=extra)


def built(fields: Wish, names: ResolvedNames = NOTHING, **extra: Any) -> tuple[Generation, tuple[str, ...]]:
    """The body and the notices."""
    request, options = settled(fields, extra), Options(**extra)
    inputs = assign_roles(request, options)
    return build(request, options, inputs, names), (*inputs.notices, *without_effect(request, options, inputs))


def shown(width: int = 64, height: int = 64, name: str = "fox.png", **make: Any) -> InputImage:
    return InputImage(image_file(width, height, **make), "image/png", name)


def black_and_white(name: str = "second.png") -> InputImage:
    return InputImage(image_file(64, 64, mode="L", colour=255), "image/png", name)


def body(fields: Wish, names: ResolvedNames = NOTHING, **extra: Any) -> dict[str, Any]:
    made, _ = built(fields, names, **extra)
    return dict(made.body())


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


# --- txt2img ---


def test_a_request_without_parameters_sets_only_size_and_seed() -> None:
    assert body(wish(seed=5)) == {
        "prompt": "a fox",
        "negative_prompt": "",
        "seed": 5,
        "batch_size": 1,
        "n_iter": 1,
        "width": 512,
        "height": 512,
        "override_settings_restore_afterwards": True,
        "save_images": False,
    }


def test_every_parameter_is_sent_under_its_api_name() -> None:
    names = ResolvedNames(
        sampler="DPM++ 2M",
        scheduler="Karras",
        checkpoint=Name("anime"),
        vae_settings={"sd_vae": "clear.pt"},
        styles=("ink",),
        hires_upscaler="R-ESRGAN 4x+",
        refiner=Name("xl-refiner"),
    )
    request = wish(
        negative_prompt="blurry", width=768, height=512, steps=30, cfg_scale=5.5, seed=42, n=4, denoising_strength=0.5
    )
    made = body(
        request,
        names,
        batch_size=2,
        clip_skip=2,
        restore_faces=True,
        tiling=False,
        distilled_cfg_scale=4.5,
        hires_scale=1.5,
        hires_steps=10,
        refiner_checkpoint="xl-refiner",
        refiner_switch_at=0.7,
    )
    assert made == {
        "prompt": "a fox",
        "negative_prompt": "blurry",
        "styles": ["ink"],
        "seed": 42,
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "batch_size": 2,
        "n_iter": 2,
        "steps": 30,
        "cfg_scale": 5.5,
        "distilled_cfg_scale": 4.5,
        "width": 768,
        "height": 512,
        "restore_faces": True,
        "tiling": False,
        "denoising_strength": 0.5,
        "refiner_checkpoint": "xl-refiner",
        "refiner_switch_at": 0.7,
        "override_settings": {"sd_vae": "clear.pt", "sd_model_checkpoint": "anime", "CLIP_stop_at_last_layers": 2},
        "override_settings_restore_afterwards": True,
        "save_images": False,
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "R-ESRGAN 4x+",
        "hr_second_pass_steps": 10,
        "hr_cfg": 5.5,
        "hr_distilled_cfg": 4.5,
        "hr_additional_modules": ["Use same choices"],
    }


def test_a_denoising_strength_without_an_image_is_not_sent() -> None:
    assert "denoising_strength" not in body(wish(denoising_strength=0.3))


@pytest.mark.parametrize(
    ("n", "most", "sent"), [(1, 1, (1, 1)), (4, 1, (1, 4)), (4, 8, (4, 1)), (6, 4, (3, 2)), (7, 4, (1, 7))]
)
def test_batches_generate_exactly_n_images(n: int, most: int, sent: tuple[int, int]) -> None:
    made = body(wish(n=n), batch_size=most)
    assert (made["batch_size"], made["n_iter"]) == sent


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (512, 512)),
        ({"width": 1024, "height": 768}, (1024, 768)),
        ({"width": 1001, "height": 700}, (1000, 704)),
        ({"width": 16, "height": 20}, (64, 80)),
        ({"aspect_ratio": "16:9"}, (680, 384)),
        ({"aspect_ratio": "1:1", "width": 640, "height": 480}, (640, 480)),
    ],
)
def test_sizes_are_rounded_to_the_servers_grid(fields: dict[str, Any], size: tuple[int, int]) -> None:
    made = body(wish(**fields))
    assert (made["width"], made["height"]) == size


# --- img2img ---


def test_img2img_defaults_to_the_size_of_the_image() -> None:
    made = body(wish(images=(shown(200, 120),)))
    assert (made["width"], made["height"], made["resize_mode"]) == (200, 120, 1)
    assert opened(made["init_images"][0]).size == (200, 120)


def test_a_large_image_is_scaled_to_one_megapixel_with_a_notice() -> None:
    made, notices = built(wish(images=(shown(2000, 1000),)))
    assert (made.width, made.height) == (1448, 720)
    assert notices == ("The image of 2000×1000 became 1448×720; set width and height for another size.",)


def test_an_image_off_the_grid_gives_a_notice() -> None:
    made, notices = built(wish(images=(shown(135, 97),)))
    assert (made.width, made.height) == (136, 96)
    assert notices == ("The image of 135×97 became 136×96; set width and height for another size.",)


def test_images_of_other_shapes_than_the_first_give_a_notice() -> None:
    _, notices = built(wish(images=(shown(64, 64), shown(64, 64), shown(128, 64))))
    assert notices == ("All images became 64×64, as `resize_mode` says; send them one at a time to keep their shapes.",)


def test_a_photo_is_rotated_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = InputImage(image_file(160, 80, kind="JPEG", exif=exif), "image/jpeg")
    made = body(wish(images=(photo,)))
    assert (made["width"], made["height"]) == opened(made["init_images"][0]).size == (80, 160)


def test_several_images_are_one_batch_and_n_repeats_it() -> None:
    made = body(wish(images=(shown(), shown(), shown()), n=2), batch_size=8)
    assert (len(made["init_images"]), made["batch_size"], made["n_iter"]) == (3, 3, 2)


def test_inpainting_starts_from_the_original_pixels_by_default() -> None:
    made = body(wish(images=(shown(),), mask=black_and_white("mask.png")))
    told = body(wish(images=(shown(),), mask=black_and_white("mask.png")), inpaint_fill="latent nothing")
    assert (made["inpainting_fill"], made["inpaint_full_res"], told["inpainting_fill"]) == (1, False, 3)
    assert opened(made["mask"]).mode == "L"


@pytest.mark.parametrize("size", [(64, 64), (100, 300)])
def test_a_mask_of_another_size_covers_the_same_part_of_the_image(size: tuple[int, int]) -> None:
    drawn = Image.new("L", size, 0)
    drawn.paste(255, (0, 0, size[0] // 2, size[1]))  # the left half shall be generated anew
    out = io.BytesIO()
    drawn.save(out, "PNG")
    made = body(wish(images=(shown(200, 120),), mask=InputImage(out.getvalue(), "image/png", "mask.png")))
    mask = opened(made["mask"])
    assert mask.size == opened(made["init_images"][0]).size
    assert [mask.getpixel(at) for at in ((0, 0), (90, 119), (110, 0), (199, 119))] == [255, 255, 0, 0]


def test_a_mask_of_another_shape_gives_a_notice() -> None:
    def told(width: int, height: int) -> tuple[str, ...]:
        drawn = InputImage(image_file(width, height, mode="L", colour=255), "image/png", "mask.png")
        return built(wish(images=(shown(200, 120),), mask=drawn))[1]

    assert told(100, 300) == ("The mask of 100×300 was stretched over the image of 200×120.",)
    assert told(100, 60) == told(333, 200) == ()


@pytest.mark.parametrize(("grey", "sent"), [(250, 255), (129, 255), (120, 0), (6, 0)])
def test_a_mask_is_sent_in_black_and_white(grey: int, sent: int) -> None:
    drawn = InputImage(image_file(64, 64, kind="JPEG", mode="L", colour=grey), "image/jpeg", "mask.jpg")
    made = body(wish(images=(shown(),), mask=drawn))
    assert opened(made["mask"]).getextrema() == (sent, sent)


def test_transparent_parts_become_white_in_the_mask_and_in_the_image() -> None:
    erased = Image.new("RGBA", (64, 64), (200, 30, 30, 255))
    erased.paste((0, 0, 0, 0), (0, 0, 32, 64))
    out = io.BytesIO()
    erased.save(out, "PNG")
    photo = InputImage(out.getvalue(), "image/png", "fox.png")
    made = body(wish(images=(photo,), mask=alpha_mask(photo)))
    mask, image_sent = opened(made["mask"]), opened(made["init_images"][0])
    assert [mask.getpixel(at) for at in ((10, 30), (50, 30))] == [255, 0]
    assert [image_sent.getpixel(at) for at in ((10, 30), (50, 30))] == [(255, 255, 255), (200, 30, 30)]


def test_outpainting_keeps_the_image_and_reports_what_the_grid_adds() -> None:
    made, notices = built(wish(images=(shown(1024, 1024),)), outpaint_right=255)
    assert (made.width, made.height) == (1280, 1024)
    assert notices == ("The canvas of 1279×1024 became 1280×1024: sides are multiples of 8.",)


def test_a_large_photo_is_scaled_down_before_outpainting() -> None:
    made, notices = built(wish(images=(shown(2048, 2048),)), outpaint_up=64)
    assert (made.width, made.height) == (1024, 1088)
    assert notices == ("The image of 2048×2048 became 1024×1024 before it was extended.",)


def test_outpainting_extends_the_canvas_and_masks_what_is_new() -> None:
    made = body(wish(images=(shown(64, 64, colour=(200, 30, 30)),)), outpaint_left=64, outpaint_down=60)
    canvas, mask = opened(made["init_images"][0]), opened(made["mask"])
    assert canvas.size == mask.size == (made["width"], made["height"]) == (128, 128)
    assert canvas.getpixel((100, 30)) == (200, 30, 30)
    # New: the left half and the lower border, each with an overlap into the image; kept: the rest.
    assert [mask.getpixel(at) for at in ((10, 10), (64, 30), (71, 30), (72, 30), (127, 0), (127, 55), (127, 56))] == [
        255,
        255,
        255,
        0,
        0,
        0,
        255,
    ]
    assert (made["inpainting_fill"], made["denoising_strength"], made["inpaint_full_res"]) == (0, 0.8, False)


def test_controlnet_and_adetailer_units_are_switched_on_without_extra_images() -> None:
    names = ResolvedNames(controlnet_model="canny [1]", controlnet_module="canny", adetailer_title="adetailer")
    made = body(
        wish(images=(shown(),)), names, controlnet_model="canny", controlnet_weight=0.5, adetailer_model="face.pt"
    )
    control = made["alwayson_scripts"]["controlnet"]["args"][0]
    assert opened(control.pop("image")).size == (64, 64)
    assert control == {
        "enabled": True,
        "module": "canny",
        "model": "canny [1]",
        "weight": 0.5,
        "pixel_perfect": True,
        "save_detected_map": False,
    }
    assert made["alwayson_scripts"]["adetailer"] == {"args": [{"ad_model": "face.pt"}]}
    assert "init_images" not in made


def test_the_control_image_sets_the_shape() -> None:
    made = body(wish(images=(shown(640, 320),)), ResolvedNames(controlnet_model="canny"), controlnet_model="canny")
    assert (made["width"], made["height"]) == (640, 320)


@pytest.mark.parametrize(
    ("fields", "extra", "told"),
    [
        ({"denoising_strength": 0.5}, {}, "`denoising_strength` was ignored"),
        ({"denoising_strength": 0.5}, {"hires_scale": 2.0}, None),
        ({"images": (shown(),)}, {"hires_scale": 2.0}, "`hires_scale` was ignored"),
        ({"images": (shown(),), "width": 512}, {"outpaint_up": 64}, "The width 512 was not used"),
        ({"images": (shown(),), "aspect_ratio": "16:9"}, {"outpaint_up": 64}, "The aspect ratio 16:9 was not used"),
        ({"images": (shown(),), "width": 512}, {"upscale_by": 2.0}, "The width 512 was not used"),
        ({"denoising_strength": 0.75}, {}, None),
        ({}, {"hires_upscaler": "Latent"}, "`hires_upscaler` was ignored"),
        ({}, {"hires_upscaler": "Latent", "hires_scale": 1.0}, "`hires_upscaler` was ignored"),
        ({}, {"controlnet_module": "canny"}, "`controlnet_module` was ignored"),
        ({}, {"adetailer_prompt": "a smile"}, "`adetailer_prompt` was ignored"),
    ],
)
def test_a_parameter_without_effect_gives_a_notice(
    fields: dict[str, Any], extra: dict[str, Any], told: str | None
) -> None:
    notices = (*settled(fields, extra).notices, *built(fields, **extra)[1])
    assert [notice.split(": ")[0] for notice in notices] == ([told] if told else [])


# --- the parts of images ---


def parts(fields: Wish, **extra: Any) -> tuple[int, bool, bool]:
    roles = assign_roles(settled(fields, extra), Options(**extra))
    return len(roles.images), roles.mask is not None, roles.control is not None


@pytest.mark.parametrize(
    ("mask", "control", "expected"),
    [
        (black_and_white(), False, (1, True, False)),
        (black_and_white("my_mask.png"), False, (1, True, False)),
        (shown(name="wolf.png"), False, (2, False, False)),
        (shown(name="mask.png"), False, (1, True, False)),
        (black_and_white(), True, (1, False, True)),
        (black_and_white("mask.png"), True, (1, True, False)),
    ],
)
def test_a_second_image_is_a_mask_an_image_or_a_control_image(
    mask: InputImage, control: bool, expected: tuple[int, bool, bool]
) -> None:
    assert parts(wish(images=(shown(),), mask=mask), controlnet_model="canny" if control else "") == expected


def test_the_transparency_of_an_image_stays_its_mask_with_controlnet() -> None:
    erased = shown(mode="RGBA", colour=(200, 30, 30, 0))
    request = wish(images=(erased,), mask=alpha_mask(erased))
    assert parts(request, controlnet_model="inpaint") == (1, True, False)


def test_upscaling_and_outpainting_treat_a_second_image_as_an_image() -> None:
    erased = shown(mode="RGBA", colour=(200, 30, 30, 0))
    transparent = wish(images=(erased,), mask=alpha_mask(erased))
    assert parts(transparent, outpaint_up=64) == (1, True, False)
    assert parts(transparent, upscale_by=2.0) == (1, False, False)
    assert parts(wish(images=(shown(),), mask=black_and_white()), upscale_by=2.0) == (2, False, False)


def test_the_last_of_several_images_is_the_control_image() -> None:
    assert parts(wish(images=(shown(), shown(), shown())), controlnet_model="canny") == (2, False, True)
    assert parts(wish(images=(shown(),)), controlnet_model="canny") == (0, False, True)
    assert parts(wish(images=(shown(),)), controlnet_model="inpaint", outpaint_up=64) == (1, True, False)
    assert parts(wish(images=(shown(), shown())), controlnet_model="inpaint", outpaint_up=64) == (1, True, True)


@pytest.mark.parametrize(
    ("request_fields", "extra", "said"),
    [
        ({}, {"controlnet_model": "canny"}, "ControlNet needs an image"),
        ({}, {"outpaint_left": 64}, "Outpainting needs an image"),
        ({}, {"upscale_by": 2.0}, "Upscaling needs an image"),
        ({"mask": black_and_white("mask.png")}, {}, "A mask was sent without an image"),
        ({"images": (shown(), shown()), "mask": black_and_white("mask.png")}, {}, "cannot share one mask"),
        ({"images": (shown(),), "mask": black_and_white("mask.png")}, {"outpaint_up": 8}, "makes its own mask"),
    ],
)
def test_an_unsupported_combination_of_images_is_refused(
    request_fields: dict[str, Any], extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        assign_roles(settled(request_fields, extra), Options(**extra))


# --- upscaling ---


@pytest.mark.parametrize(
    ("fields", "extra", "sent"),
    [
        ({}, {"upscale_by": 3.0}, {"resize_mode": 0, "upscaling_resize": 3.0, "upscaler_1": "Lanczos"}),
        ({}, {"upscaler": "ESRGAN"}, {"resize_mode": 0, "upscaling_resize": 2.0, "upscaler_1": "ESRGAN"}),
        (
            {"width": 800, "height": 600},
            {"upscaler": "ESRGAN", "restore_faces": True},
            {
                "resize_mode": 1,
                "upscaling_resize_w": 800,
                "upscaling_resize_h": 600,
                "upscaler_1": "ESRGAN",
                "gfpgan_visibility": 1.0,
            },
        ),
        (
            {"width": 800, "height": 600},
            {"upscaler": "ESRGAN", "upscale_by": 4.0},
            {"resize_mode": 0, "upscaling_resize": 4.0, "upscaler_1": "ESRGAN"},
        ),
    ],
)
def test_upscaling_takes_a_factor_or_a_size(
    fields: dict[str, Any], extra: dict[str, Any], sent: dict[str, Any]
) -> None:
    options, request = Options(**extra), settled({"images": (shown(),), **fields}, extra)
    named = Name(options.upscaler) if options.upscaler else None
    made: dict[str, Any] = build_upscale(shown(), request, options, assign_roles(request, options), named)
    assert made.pop("image")
    assert made == sent
    assert bool([*upscale_notices(request, options)]) == (not options.upscaler)


def test_upscaling_with_n_gives_a_notice() -> None:
    told = [*upscale_notices(settled(wish(n=3), {}), Options(upscaler="ESRGAN"))]
    assert told == ["`n` was ignored: upscaling makes one image of each input image."]


def test_an_upscaled_image_keeps_its_shape_if_one_side_is_given() -> None:
    request = settled(wish(images=(shown(80, 40),), width=400), {"upscaler": "ESRGAN"})
    assert request.size == (400, 200)


# --- options ---


def test_every_extra_rule_is_an_option_and_every_option_has_a_rule() -> None:
    own, options = {rule.name for rule in EXTRA_RULES}, set(Options.model_fields)
    assert own <= options
    assert options - own <= set(RULES), "those of outpainting are common"


def test_the_rules_name_the_effective_defaults() -> None:
    rules = (rule for rule in (*EXTRA_RULES, *RULES.values()) if rule.name in Options.model_fields)
    defaults = {rule.name: rule.default for rule in rules if rule.default is not None}
    assert defaults == {name: getattr(Options(), name) for name in defaults}


def test_the_card_offers_every_option() -> None:
    assert set(Options.model_fields) <= {rule.name for rule in cards()["automatic1111"].rules}
