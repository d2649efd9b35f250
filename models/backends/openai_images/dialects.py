"""The dialects of the OpenAI images API as one table of differences.

A row says which words of the vocabulary a server understands, under which key, on which path, how images and masks travel, and
what it does when something is left out. Sources: the OpenAPI description of OpenAI; vLLM-Omni 0.30.0, SGLang diffusion
0.5.23, LocalAI and stable-diffusion.cpp of 2026 as their code reads; the API pages of SiliconFlow. A key that is not
in a row is never sent: most of these servers drop unknown keys without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.backends.openai_images.wire import (
    Inline,
    Rewrite,
    Upload,
    controls_in_prompt,
    data_urls,
    init_and_references,
    negative_after_bar,
    no_entries,
    no_parts,
    parts_named,
    unchanged,
)
from models.images.inputs import InputLimits

AUTO = "auto"
IN_PROMPT = ""
"""Stands for the key of a word that travels inside the prompt."""

_ANY_IMAGE = InputLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to call a server; `path` is below the API's. `upload` or `inline` carries the input images; `mask` is the key of the mask.

    `mask_form` is what marks the region to change: white, or transparency. `input_size` sends the first image's size
    where nobody asks for one.
    """

    path: str
    keys: Mapping[str, str]
    body: Literal["json", "form"] = "json"
    upload: Upload = no_parts
    inline: Inline = no_entries
    mask: str = ""
    mask_form: Literal["white", "alpha"] = "white"
    input_size: bool = False
    rewrite: Rewrite = unchanged
    splits_at_bar: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of server.

    `home` is its address where there is only one; `n` and `images` are the largest numbers of images out and in,
    `inputs` says what an image may be like, `seed` is the largest seed (None: it takes none). `seeds` says what becomes
    of one seed for several images: they share it, count up from it, or all are the same image. `defaults` sends a
    known model's steps and scale, `blank_negative` a blank negative prompt where true CFG depends on the key being
    there. `worth_asking` servers name the model behind an alias. `fastapi` ones answer 405 where an endpoint is
    and 404 where none is; `ignores_masks` ones accept a mask that most of their models never look at.
    """

    name: str
    title: str
    generate: Route
    edit: Route
    inpaint: Route | None = None
    home: str = ""
    n: int = 10
    images: int = 8
    inputs: InputLimits = _ANY_IMAGE
    steps: int = 200
    cfg: float = 20
    seed: int | None = None
    seeds: Literal["shared", "counted", "repeated"] = "shared"
    defaults: bool = False
    blank_negative: bool = False
    model_name: Literal["exact", "free", "ignored"] = "free"
    worth_asking: bool = False
    fastapi: bool = False
    ignores_masks: bool = False
    urls_expire: str = ""

    def route(self, *, edits: bool, masked: bool) -> Route:
        """The way to call for a request with images and with a mask."""
        if masked and self.inpaint:
            return self.inpaint
        return self.edit if edits else self.generate

    @property
    def masks(self) -> bool:
        return bool((self.inpaint or self.edit).mask)


_CORE = {"model": "model", "prompt": "prompt", "n": "n", "size": "size"}
_PNG = {"output_format": "output_format"}  # always PNG: a lossy file would be encoded twice on its way to the user
_B64 = {"response_format": "response_format"}
_GENERATIONS = "images/generations"
_EDITS = "images/edits"

_GPT_KEYS = {
    **_CORE,
    **_B64,
    "output_format": "output_format",
    "output_quality": "output_compression",
    "quality": "quality",
    "background": "background",
}

OPENAI = Dialect(
    name="openai",
    title="the OpenAI images API",
    home="https://api.openai.com",
    generate=Route(path=_GENERATIONS, keys={**_GPT_KEYS, "moderation": "moderation", "style_preset": "style"}),
    # `moderation` belongs to the JSON form of edits only; the multipart form is the one that other servers copy.
    edit=Route(
        path=_EDITS,
        body="form",
        keys={**_GPT_KEYS, "input_fidelity": "input_fidelity"},
        upload=parts_named("image", several="image[]"),
        mask="mask",
        mask_form="alpha",
    ),
    images=16,
    inputs=InputLimits(max_bytes=50_000_000, keep_alpha=True),
    urls_expire="about one hour",
)

_DIFFUSION_KEYS = {
    **_CORE,
    **_PNG,
    **_B64,
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "true_cfg_scale": "true_cfg_scale",
    "seed": "seed",
}

VLLM_OMNI = Dialect(
    name="vllm_omni",
    title="vLLM-Omni",
    generate=Route(path=_GENERATIONS, keys=_DIFFUSION_KEYS),
    edit=Route(
        path=_EDITS,
        body="form",
        keys={**_DIFFUSION_KEYS, "denoising_strength": "strength"},
        upload=parts_named("image"),
        mask="mask_image",
    ),
    seed=2**63 - 1,
    defaults=True,
    blank_negative=True,
    model_name="exact",
    worth_asking=True,
    fastapi=True,
    ignores_masks=True,
)

SGLANG = Dialect(
    name="sglang",
    title="SGLang diffusion",
    generate=Route(path=_GENERATIONS, keys=_DIFFUSION_KEYS),
    # `mask` is a field of the form that no pipeline reads.
    edit=Route(path=_EDITS, body="form", keys=_DIFFUSION_KEYS, upload=parts_named("image")),
    seed=2**63 - 1,
    seeds="counted",
    defaults=True,
    blank_negative=True,
    worth_asking=True,
    fastapi=True,
    ignores_masks=True,
)

_LOCALAI_KEYS = {**_CORE, **_B64, "steps": "step", "seed": "seed", "negative_prompt": IN_PROMPT}

_STB = InputLimits(formats=("png", "jpeg"))  # their image readers know WebP only where it was built in

LOCALAI = Dialect(
    name="localai",
    title="LocalAI",
    generate=Route(path=_GENERATIONS, keys=_LOCALAI_KEYS, rewrite=negative_after_bar, splits_at_bar=True),
    # There is no images/edits; without a size the server makes 512x512 whatever the input.
    edit=Route(
        path=_GENERATIONS,
        keys=_LOCALAI_KEYS,
        inline=init_and_references,
        input_size=True,
        rewrite=negative_after_bar,
        splits_at_bar=True,
    ),
    inpaint=Route(
        path="images/inpainting",
        body="form",
        keys={"model": "model", "prompt": "prompt", "steps": "steps"},
        upload=parts_named("image"),
        mask="mask",
    ),
    inputs=_STB,
    seed=2**31 - 1,  # the engines take an int32
    seeds="repeated",
)

_SDCPP_KEYS = {
    "prompt": "prompt",
    "n": "n",
    "size": "size",
    **_PNG,
    "negative_prompt": IN_PROMPT,
    "steps": IN_PROMPT,
    "cfg_scale": IN_PROMPT,
    "seed": IN_PROMPT,
    "sampler": IN_PROMPT,
    "scheduler": IN_PROMPT,
}

SDCPP = Dialect(
    name="sdcpp",
    title="stable-diffusion.cpp",
    generate=Route(path=_GENERATIONS, keys=_SDCPP_KEYS, rewrite=controls_in_prompt),
    edit=Route(
        path=_EDITS,
        body="form",
        keys={**_SDCPP_KEYS, "denoising_strength": IN_PROMPT},
        upload=parts_named("image[]"),
        mask="mask",
        rewrite=controls_in_prompt,
    ),
    inputs=_STB,
    seed=2**63 - 1,
    seeds="counted",
    model_name="ignored",
    worth_asking=True,
)

_SILICONFLOW_KEYS = {
    "model": "model",
    "prompt": "prompt",
    "n": "batch_size",
    "size": "image_size",
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "true_cfg_scale": "cfg",
    "seed": "seed",
}

SILICONFLOW = Dialect(
    name="siliconflow",
    title="SiliconFlow",
    home="https://api.siliconflow.cn",
    generate=Route(path=_GENERATIONS, keys=_SILICONFLOW_KEYS),
    edit=Route(path=_GENERATIONS, keys=_SILICONFLOW_KEYS, inline=data_urls("image", "image2", "image3")),
    n=4,
    images=1,
    steps=100,
    seed=9_999_999_999,
    defaults=True,
    urls_expire="one hour",
)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI, VLLM_OMNI, SGLANG, LOCALAI, SDCPP, SILICONFLOW)
}
