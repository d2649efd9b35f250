"""What is known about the models behind these servers, by their names: defaults, sizes, how many images they take.

Sources: model cards and README of Qwen-Image, pipelines of vLLM-Omni 0.30.0, OpenAI's API description, SiliconFlow's
API pages. A name that fits no row is taken as it comes: the server's own defaults apply.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from models.backends.openai_images import sizes
from models.backends.openai_images.dialects import DIALECTS, LOCALAI, OPENAI, SDCPP, SILICONFLOW, VLLM_OMNI, Dialect
from models.backends.openai_images.sizes import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models of one kind. `images` None means: as many as the dialect takes.

    `true_cfg` models are steered by `true_cfg_scale`; `gpt` ones are OpenAI's own, which refuse `response_format`;
    `without` lists words that would be refused or ignored; `masks` names the dialects on which a mask has an effect
    (None: wherever the dialect has masks). `dialects` limits the row.
    """

    name: str
    pattern: str
    sizes: Sizes = sizes.ANY
    images: int | None = None
    min_images: int = 0
    steps: int | None = None
    cfg: float | None = None
    true_cfg: bool = False
    gpt: bool = False
    n: int | None = None
    without: frozenset[str] = frozenset()
    masks: frozenset[str] | None = None
    qualities: tuple[str, ...] = ()
    dialects: frozenset[str] = frozenset(DIALECTS)

    def fits(self, names: Iterable[str], dialect: Dialect) -> bool:
        """Whether one of a model's names is of this family on a server of this dialect."""
        return dialect.name in self.dialects and any(re.search(self.pattern, plain(name)) for name in names)


def plain(name: str) -> str:
    """`Qwen/Qwen-Image-Edit-2509`, a file path or an alias, in the one form that the patterns know."""
    return re.sub(r"[\s_]+", "-", name.lower())


_ENGINE_MASKS = frozenset({SDCPP.name, LOCALAI.name})  # these engines mask whatever model they run
_SILICONFLOW = frozenset({SILICONFLOW.name})
_OPENAI = frozenset({OPENAI.name})
_OWN = frozenset(DIALECTS) - _OPENAI - _SILICONFLOW
_IMG2IMG = frozenset({"denoising_strength"})
_OPENAI_ONLY = frozenset({"background", "moderation", "input_fidelity"})

_GPT_IMAGE = Family(
    name="gpt-image",
    pattern=r"gpt-image|chatgpt-image",
    sizes=sizes.GPT_IMAGE,
    gpt=True,
    without=frozenset({"style_preset"}),
    qualities=("auto", "low", "medium", "high"),
    dialects=_OPENAI,
)
_QWEN_IMAGE = Family(
    name="Qwen-Image",
    pattern=r"qwen-?image",
    sizes=sizes.QWEN,
    images=0,
    steps=50,
    cfg=4.0,
    true_cfg=True,
    without=_IMG2IMG,
    masks=_ENGINE_MASKS,
    dialects=_OWN,
)
_QWEN_IMAGE_EDIT = replace(
    _QWEN_IMAGE, name="Qwen-Image-Edit", pattern=r"qwen-?image-?(edit|layered)", images=1, min_images=1
)
_QWEN_IMAGE_21 = replace(
    _QWEN_IMAGE,
    name="Qwen-Image-2.1",
    pattern=r"qwen-?image-?2\.1",
    sizes=sizes.QWEN_21,
    images=10,
    steps=40,
    cfg=1.0,
)
_HOSTED_QWEN_IMAGE = Family(
    name="Qwen-Image",
    pattern=r"qwen-?image",
    sizes=sizes.QWEN_AT_SILICONFLOW,
    images=0,
    cfg=4.0,
    true_cfg=True,
    without=frozenset({"n"}),
    dialects=_SILICONFLOW,
)
_HOSTED_QWEN_IMAGE_EDIT = replace(
    _HOSTED_QWEN_IMAGE,
    name="Qwen-Image-Edit",
    pattern=r"qwen-?image-?edit",
    sizes=sizes.ANY,
    images=1,
    min_images=1,
    without=frozenset({"size", "n"}),
    masks=frozenset(),
)

FAMILIES: tuple[Family, ...] = (
    # OpenAI
    replace(
        _GPT_IMAGE,
        name="gpt-image-2",
        pattern=r"gpt-image-[2-9]",
        sizes=sizes.GPT_IMAGE_2,
        without=frozenset({"style_preset", "input_fidelity"}),  # always faithful, and refuses to be told
    ),
    replace(
        _GPT_IMAGE,
        name="gpt-image-mini",
        pattern=r"gpt-image.*mini",
        without=frozenset({"style_preset", "input_fidelity"}),
    ),
    _GPT_IMAGE,
    Family(
        name="dall-e-3",
        pattern=r"dall-?e-?3",
        sizes=sizes.DALL_E_3,
        images=0,
        n=1,
        without=_OPENAI_ONLY | {"output_format", "output_quality"},
        qualities=("standard", "hd"),
        dialects=_OPENAI,
    ),
    Family(
        name="dall-e-2",
        pattern=r"dall-?e-?2",
        sizes=sizes.DALL_E_2,
        images=1,
        without=_OPENAI_ONLY | {"output_format", "output_quality", "style_preset", "quality"},
        dialects=_OPENAI,
    ),
    # SiliconFlow
    replace(_HOSTED_QWEN_IMAGE_EDIT, pattern=r"qwen-?image-?edit-?(2509|2511|plus)", images=3),
    _HOSTED_QWEN_IMAGE_EDIT,
    _HOSTED_QWEN_IMAGE,
    Family(
        name="Kolors",
        pattern=r"kolors",
        sizes=sizes.KOLORS,
        images=1,
        masks=frozenset(),
        dialects=_SILICONFLOW,
    ),
    Family(
        name="",
        pattern="",
        sizes=sizes.ANY_AT_SILICONFLOW,
        images=1,
        masks=frozenset(),
        without=frozenset({"n"}),
        dialects=_SILICONFLOW,
    ),
    # Servers of one's own
    replace(_QWEN_IMAGE_21, name="Qwen-Image-2.1-Turbo", pattern=r"qwen-?image-?2\.1-?turbo", steps=8),
    _QWEN_IMAGE_21,
    replace(
        _QWEN_IMAGE_EDIT,
        name="Qwen-Image-Edit-2509",
        pattern=r"qwen-?image-?edit-?(2509|2511|plus)",
        images=3,
        steps=40,
    ),
    _QWEN_IMAGE_EDIT,
    _QWEN_IMAGE,
    Family(
        name="FLUX.2 [klein]",
        pattern=r"flux\.?-?2.*klein",
        masks=_ENGINE_MASKS | {VLLM_OMNI.name},
        dialects=_OWN,
    ),
    Family(name="", pattern="", masks=_ENGINE_MASKS, without=_IMG2IMG, dialects=frozenset({VLLM_OMNI.name})),
    Family(name="", pattern="", masks=_ENGINE_MASKS, dialects=_OWN),
    # An unknown server gets the portable core of the API and nothing else.
    Family(
        name="",
        pattern="",
        without=_OPENAI_ONLY | {"output_format", "output_quality", "style_preset", "quality"},
    ),
)


def family_of(names: Iterable[str], dialect: Dialect) -> Family:
    """The first row that fits; the last one fits everything."""
    known = tuple(names)
    return next(family for family in FAMILIES if family.fits(known, dialect))


NEWEST_AT_OPENAI = family_of(("gpt-image-2",), OPENAI)
"""What a name is taken for that OpenAI itself serves and this table does not know yet."""
