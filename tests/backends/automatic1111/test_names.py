"""The names of a request as a server spells them, with the server's lists at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.backends.automatic1111.build import Options, ResolvedNames
from models.backends.automatic1111.names import NameResolver
from models.backends.automatic1111.server_lists import Name, ServerLists, find, lookup, read_list, unknown_name
from models.backends.errors import BadRequest
from models.clock import Deadline
from models.entities import ImageRequest
from tests.asking import bound
from tests.fakes import FakeClock

MODERN: Mapping[str, tuple[Name, ...]] = {
    "samplers": (Name("Euler a", ("k_euler_a", "euler_a")), Name("DPM++ 2M")),
    "schedulers": (Name("Karras", ("karras",)), Name("SGM Uniform", ("sgm_uniform", "SGMUniform"))),
    "checkpoints": (Name("anime", ("anime.safetensors", "abc123")), Name("photo")),
    "vaes": (Name("clear.pt", ("clear",)),),
    "styles": (Name("ink"), Name("soft, light")),
    "loras": (Name("fox", ("fox_v1",)), Name("Wolf")),
    "scripts": (Name("controlnet"), Name("adetailer")),
    "upscalers": (Name("ESRGAN"),),
    "latent_upscalers": (Name("Latent"),),
    "controlnet_models": (Name("canny [1]", ("canny",)), Name("None")),
    "controlnet_modules": (Name("canny"),),
    "unfit_embeddings": (Name("bad-hands"),),
}


@dataclass
class KnownLists:
    """A server's lists without the server; `later` are those of a second look."""

    first: Mapping[str, tuple[Name, ...]]
    later: Mapping[str, tuple[Name, ...]] = field(default_factory=dict)

    def get(self, name: str, *, fresh: bool = False) -> tuple[Name, ...] | None:
        return {**self.first, **(self.later if fresh else {})}.get(name)

    def offered(self, name: str, *, fresh: bool = False) -> tuple[Name, ...]:
        return self.get(name, fresh=fresh) or ()


def resolver(lists: Mapping[str, tuple[Name, ...]] = MODERN, **later: tuple[Name, ...]) -> NameResolver:
    return NameResolver(KnownLists(lists, later))  # type: ignore[arg-type]


def resolved(asked: Any = None, checkpoint: Any = "", lists: Any = MODERN, **extra: Any) -> ResolvedNames:
    request = ImageRequest(model="m", **{"prompt": "a fox", **(asked or {})})
    return resolver(lists).resolve(request, Options(**extra), checkpoint)


def without(*names: str) -> dict[str, tuple[Name, ...]]:
    return {name: entries for name, entries in MODERN.items() if name not in names}


def test_a_request_without_names_resolves_to_none() -> None:
    assert resolved() == ResolvedNames()


@pytest.mark.parametrize(
    ("sampler", "scheduler", "sent"),
    [
        ("Euler a", "", ("Euler a", None)),
        ("euler A", "", ("Euler a", None)),
        ("k_euler_a", "", ("Euler a", None)),
        ("", "Karras", (None, "Karras")),
        ("DPM++ 2M Karras", "", ("DPM++ 2M", "Karras")),
        ("dpm++ 2m sgmuniform", "", ("DPM++ 2M", "SGM Uniform")),
        ("DPM++ 2M Karras", "SGM Uniform", ("DPM++ 2M", "SGM Uniform")),
        ("DPM++ 2M", "sgm_uniform", ("DPM++ 2M", "SGM Uniform")),
    ],
)
def test_sampler_and_scheduler_are_told_apart(
    sampler: str, scheduler: str, sent: tuple[str | None, str | None]
) -> None:
    names = resolved({"sampler": sampler, "scheduler": scheduler})
    assert (names.sampler, names.scheduler) == sent


@pytest.mark.parametrize("lists", [{}, {"schedulers": MODERN["schedulers"]}])
def test_without_a_list_of_samplers_the_name_is_sent_as_it_is(lists: Any) -> None:
    assert resolved({"sampler": "Anything"}, lists=lists).sampler == "Anything"


OLD = {**without("schedulers"), "samplers": (Name("DPM++ 2M"), Name("DPM++ 2M Karras"))}


@pytest.mark.parametrize(
    ("sampler", "scheduler", "sent"),
    [
        ("DPM++ 2M", "Karras", "DPM++ 2M Karras"),
        ("DPM++ 2M Karras", "karras", "DPM++ 2M Karras"),
        ("DPM++ 2M", "Automatic", "DPM++ 2M"),
        ("DPM++ 2M", "", "DPM++ 2M"),
    ],
)
def test_old_servers_have_the_schedule_in_the_samplers_name(sampler: str, scheduler: str, sent: str) -> None:
    names = resolved({"sampler": sampler, "scheduler": scheduler}, lists=OLD)
    assert (names.sampler, names.scheduler) == (sent, None)
    assert resolved({"sampler": "X", "scheduler": "Y"}, lists={}).sampler == "X Y"


def test_an_old_server_needs_a_sampler_for_a_schedule() -> None:
    with pytest.raises(BadRequest, match="no list of schedulers, so the scheduler 'Karras' needs a sampler"):
        resolved({"scheduler": "Karras"}, lists=OLD)


@pytest.mark.parametrize(
    ("vae", "forge", "setting"),
    [
        ("", False, {}),
        ("clear", False, {"sd_vae": "clear.pt"}),
        ("automatic", False, {"sd_vae": "Automatic"}),
        ("NONE", False, {"sd_vae": "None"}),
        ("clear, clear.pt", False, {"sd_vae": "clear.pt"}),
        ("", True, {}),
        ("ae", True, {"forge_additional_modules": ["ae.safetensors"]}),
        ("ae, clip", True, {"forge_additional_modules": ["ae.safetensors", "clip"]}),
        ("automatic", True, {"forge_additional_modules": ["Automatic"]}),
    ],
)
def test_a_vae_is_a_file_or_a_word(vae: str, forge: bool, setting: Mapping[str, object]) -> None:
    modules = {"modules": (Name("ae.safetensors", ("ae",)), Name("clip"))} if forge else {}
    assert resolved(vae=vae, lists={**MODERN, **modules}).vae_settings == setting


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("ink", ("ink",)),
        ("ink, INK", ("ink", "ink")),
        ("soft, light", ("soft, light",)),
        (" ink ,, ", ("ink",)),
        ("", ()),
    ],
)
def test_styles_are_listed_with_commas(asked: str, sent: Sequence[str]) -> None:
    assert resolved({"style_preset": asked}).styles == sent


def test_files_and_extensions_are_named_as_the_server_has_them() -> None:
    names = resolved(
        checkpoint="anime.safetensors",
        refiner_checkpoint="PHOTO",
        hires_upscaler="esrgan",
        controlnet_model="canny",
        controlnet_module="canny",
        adetailer_model="face.pt",
    )
    assert names == ResolvedNames(
        checkpoint=MODERN["checkpoints"][0],
        refiner=MODERN["checkpoints"][1],
        hires_upscaler="ESRGAN",
        controlnet_model="canny [1]",
        controlnet_module="canny",
        adetailer_title="adetailer",
    )
    assert resolved(controlnet_module="canny").controlnet_module is None


def test_a_server_without_lists_gets_the_names_as_they_are() -> None:
    names = resolved(checkpoint="mine", adetailer_model="face.pt", controlnet_model="canny", lists={})
    assert (names.checkpoint, names.controlnet_model, names.adetailer_title) == (Name("mine"), "canny", "adetailer")


@pytest.mark.parametrize(
    ("extra", "extension"),
    [({"adetailer_model": "face.pt"}, "ADetailer"), ({"controlnet_model": "canny"}, "ControlNet")],
)
def test_a_missing_extension_is_named(extra: dict[str, str], extension: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        resolved(lists={**MODERN, "scripts": ()}, **extra)
    assert str(refusal.value) == (
        f"The server does not have the extension {extension}. Install {extension} in the WebUI (Extensions) and restart "
        "it, or leave its parameters empty."
    )


def test_a_name_that_is_missing_is_looked_for_once_more() -> None:
    fresh = resolver(checkpoints=(Name("new"),))
    assert fresh.named("checkpoint", "new", "checkpoints") == Name("new")
    with pytest.raises(BadRequest, match="There is no checkpoint 'gone' on the server"):
        fresh.named("checkpoint", "gone", "checkpoints")
    assert fresh.named("checkpoint", "", "checkpoints") is None


@pytest.mark.parametrize(
    ("prompts", "unknown"),
    [
        ({"prompt": "a <lora:fox:0.5>"}, ""),
        ({"prompt": "a <lyco:fox_v1>"}, ""),
        ({"prompt": "a <lora:wolf:1>"}, "wolf"),
        ({"negative_prompt": "<lora:gone:1>"}, "gone"),
        ({"prompt": "lora:gone"}, ""),
    ],
)
def test_a_lora_of_the_prompts_is_spelled_as_the_server_has_it(prompts: dict[str, str], unknown: str) -> None:
    if not unknown:
        assert resolved(prompts) == ResolvedNames()
        return
    with pytest.raises(BadRequest, match=f"There is no LoRA '{unknown}' on the server"):
        resolved(prompts)


def test_a_lora_of_the_adetailer_prompt_is_checked_too() -> None:
    with pytest.raises(BadRequest, match="There is no LoRA 'gone'"):
        resolved(adetailer_prompt="<lora:gone:1>")


@pytest.mark.parametrize(
    ("prompts", "later", "told"),
    [
        ({"prompt": "a fox, (bad-hands:1.2)"}, (Name("bad-hands"),), True),
        ({"negative_prompt": "bad-hands"}, (Name("bad-hands"),), True),
        ({"prompt": "bad-hands"}, (Name("other"),), False),
        ({"prompt": "bad-hands2"}, (Name("bad-hands"),), False),
    ],
)
def test_an_embedding_without_effect_is_told(prompts: dict[str, str], later: tuple[Name, ...], told: bool) -> None:
    request = ImageRequest(model="m", **{"prompt": "a fox", **prompts})  # type: ignore[arg-type]
    notice = "The embedding bad-hands does not fit the loaded model and had no effect."
    assert list(resolver(unfit_embeddings=later).unfit_embeddings(request)) == ([notice] if told else [])


# --- lists ---


LISTED = (Name("a", ("b", "c")), Name("B"), Name("b c"), Name("X"), Name("x"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [("a", "a"), ("A", "a"), ("B", "B"), ("b", "a"), ("C", "a"), ("x", "x"), ("X", "X"), ("B C", "b c"), ("y", None)],
)
def test_the_exact_spelling_goes_first(asked: str, found: str | None) -> None:
    entry = lookup(asked, LISTED)
    assert (entry.sent if entry else None) == found


def test_a_spelling_that_fits_several_is_not_guessed() -> None:
    several = (Name("Same"), Name("SAME"))
    assert lookup("same", several) is None
    assert lookup("Same", several) == Name("Same")
    assert find("style", "SAME", several) == Name("SAME")


@pytest.mark.parametrize("word", ["a", "b", "c"])
def test_a_name_means_each_of_its_spellings(word: str) -> None:
    assert Name("a", ("b", "c")).means(word)
    assert not Name("a", ("b", "c")).means(f"{word}x")
    assert not Name("a").means(None)


def test_an_unknown_name_is_refused_with_the_names_on_offer() -> None:
    assert str(unknown_name("VAE", "x", [])) == "There is no VAE 'x' on the server. It has none; leave the VAE empty."
    assert str(unknown_name("VAE", "x", ["a", "b"])) == (
        "There is no VAE 'x' on the server. It has: a, b; a file added just now shows after a refresh in the WebUI."
    )


@pytest.mark.parametrize(
    ("name", "body", "names"),
    [
        ("samplers", '[{"name": "A", "aliases": ["k_a", "b"]}, {"name": null}]', (Name("A", ("k_a", "b", "a")),)),
        ("checkpoints", '[{"model_name": "a", "title": "a [1]", "hash": "1", "filename": "C:\\\\m\\\\a.b.ckpt"}]', (Name("a", ("a [1]", "a.b.ckpt", "a.b", "1")),)),
        ("vaes", '[{"filename": "/m/clear"}]', (Name("clear"),)),
        ("styles", '[{"name": "head", "prompt": null}, {"name": "ink", "prompt": ""}]', (Name("ink"),)),
        ("controlnet_models", '{"model_list": ["canny [1]", "canny [1]"]}', (Name("canny [1]", ("canny",)), Name("None", ("None",)))),
        ("controlnet_modules", '{"module_list": ["canny"]}', (Name("canny", ("canny",)),)),
        ("scripts", '{"txt2img": ["a"], "img2img": ["a", "b"]}', (Name("a", ("a",)), Name("b", ("b",)))),
        ("unfit_embeddings", '{"skipped": {"bad": {}}}', (Name("bad", ("bad",)),)),
    ],
)  # fmt: skip
def test_each_list_has_its_shape(name: str, body: str, names: tuple[Name, ...]) -> None:
    assert read_list(name, body.encode()) == names


@pytest.mark.parametrize("name", ["samplers", "latent_upscalers"])
def test_a_list_is_asked_for_again_after_a_minute(name: str) -> None:
    clock = FakeClock()
    service = bound("automatic1111", {"automatic1111_base_url": "http://127.0.0.1:1"}, clock).service
    lists, asked = ServerLists(service, Deadline.after(clock, 500)), []

    class Counted(ServerLists):
        def _fetch(self, name: str) -> tuple[Name, ...]:
            asked.append(name)
            return (Name(f"{len(asked)}"),)

    lists = Counted(service, Deadline.after(clock, 500))
    assert [lists.get(name), lists.get(name)] == [(Name("1"),)] * 2
    assert lists.get(name, fresh=True) == (Name("2"),)
    clock.time += 59
    assert lists.get(name) == (Name("2"),)
    clock.time += 1
    assert lists.get(name) == (Name("3"),)
