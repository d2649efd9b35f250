"""The parameters of one model in the form of another."""

from collections.abc import Mapping

import pytest

from models.entities import ParameterValue
from models.request.build import rules_for
from models.translation import TargetModel, translated
from tests.asking import bound


def into(
    model: str, values: Mapping[str, ParameterValue], *, asked: bool = False, same_service: bool = False
) -> tuple[dict[str, ParameterValue], tuple[str, ...]]:
    backend = bound(model, {})
    target = TargetModel(model, backend.name, rules_for(backend), asked=asked, same_service=same_service)
    return translated(values, target)


@pytest.mark.parametrize(
    ("model", "sampler", "its_own"),
    [
        ("comfyui-sdxl", "Euler a", "euler_ancestral"),
        ("comfyui-sdxl", "K_DPMPP_2M", "dpmpp_2m"),
        ("automatic1111", "dpmpp_2m_sde", "DPM++ 2M SDE"),
        ("stable-diffusion-xl", "euler", "K_EULER"),
    ],
)
def test_a_sampler_keeps_its_meaning_in_another_services_spelling(model: str, sampler: str, its_own: str) -> None:
    assert into(model, {"sampler": sampler}) == ({"sampler": its_own}, ())


def test_a_scheduler_keeps_its_meaning() -> None:
    assert into("comfyui-sdxl", {"scheduler": "Karras"}) == ({"scheduler": "karras"}, ())


@pytest.mark.parametrize("sampler", ["res_multistep", "LCM"])
def test_a_sampler_that_the_service_lacks_is_dropped_and_told(sampler: str) -> None:
    told = (f"`sampler` {sampler} was not used: stable-diffusion-xl has no such choice.",)
    assert into("stable-diffusion-xl", {"sampler": sampler}) == ({}, told)


def test_an_unknown_sampler_stays_within_its_service() -> None:
    assert into("comfyui-flux", {"sampler": "res_multistep"}, same_service=True) == ({"sampler": "res_multistep"}, ())


def test_a_style_is_kept_where_the_model_has_it() -> None:
    assert into("sd3.5-large", {"style_preset": "Anime"}) == ({"style_preset": "anime"}, ())
    taken, told = into("sd3.5-large", {"style_preset": "watercolour"})
    assert (taken, told) == ({}, ("`style_preset` watercolour was not used: sd3.5-large has no such choice.",))


def test_numbers_come_within_the_models_bounds() -> None:
    told = ("`steps` 90 became 50, the nearest value that stable-diffusion-xl takes.",)
    assert into("stable-diffusion-xl", {"steps": 90, "cfg_scale": 5.5}) == ({"steps": 50, "cfg_scale": 5.5}, told)


def test_a_seed_beyond_the_models_is_dropped() -> None:
    taken, told = into("qwen-image-plus", {"seed": 2**40})
    assert (taken, told) == ({}, (f"`seed` {2**40} was not used: qwen-image-plus has no such choice.",))


def test_parameters_that_a_model_lacks_are_told_together() -> None:
    taken, told = into("qwen-image-plus", {"steps": 30, "cfg_scale": 7.0, "negative_prompt": "text", "n": 1})
    assert taken == {"negative_prompt": "text", "n": 1}
    assert told == ("qwen-image-plus has no `steps`, `cfg_scale`: not used.",)


def test_a_value_that_says_nothing_is_not_missed() -> None:
    assert into("preview", {"watermark": True, "n": 1})[1] == ("preview has no `watermark`: not used.",)
    assert into("preview", {"n": 1, "details": False}) == ({"n": 1, "details": False}, ())


def test_files_of_one_model_mean_nothing_to_another() -> None:
    files: dict[str, ParameterValue] = {"lora": "flux.safetensors", "lora_strength": 0.8}
    taken, told = into("comfyui-sdxl", files, same_service=True)
    assert "lora" not in taken
    assert told == ("`lora` flux.safetensors was not used: comfyui-sdxl has no such choice.",)
    checkpoint: dict[str, ParameterValue] = {"checkpoint": "juggernaut.safetensors"}
    assert into("automatic1111", checkpoint)[0] == {}
    assert into("automatic1111", checkpoint, asked=True) == (checkpoint, ())


def test_a_services_own_parameters_stay_within_it() -> None:
    quality: dict[str, ParameterValue] = {"quality": "high"}
    assert into("openrouter-gpt-image-2", quality, same_service=True) == (quality, ())
    assert into("openrouter-gpt-image-2", quality) == ({}, ("openrouter-gpt-image-2 has no `quality`: not used.",))


def test_any_ratio_is_left_to_be_settled() -> None:
    assert into("stable-image-core", {"aspect_ratio": "7:5"}) == ({"aspect_ratio": "7:5"}, ())


def test_only_so_many_parameters_are_named() -> None:
    values: dict[str, ParameterValue] = {f"own_{number}": 1 for number in range(13)}
    shown = ", ".join(f"`own_{number}`" for number in range(12))
    assert into("preview", values) == ({}, (f"preview has no {shown}: not used.",))


def test_a_number_of_a_kind_that_no_model_has_near_is_dropped() -> None:
    assert into("stable-diffusion-xl", {"steps": 50})[1] == ()
    assert into("stable-diffusion-xl", {"steps": 51})[0] == {"steps": 50}
