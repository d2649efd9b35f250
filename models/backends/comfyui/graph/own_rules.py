"""The parameters that only ComfyUI workflows have: model files, strengths and a few numbers of their nodes."""

from collections.abc import Mapping

from models.parameters import Rule, Text

DRAFT = Rule(
    name="draft",
    type="boolean",
    label=Text(en_US="Quick draft", zh_Hans="快速草稿"),
    help=Text(en_US="Half the pixels and half the steps, for a first look.", zh_Hans="像素和步数减半，用于快速预览。"),
    default=False,
)


def _file(name: str, english: str, chinese: str) -> Rule:
    return Rule(
        name=name,
        type="string",
        label=Text(en_US=english, zh_Hans=chinese),
        help=Text(
            en_US="File name as the server lists it, with its subfolder.", zh_Hans="服务器上的文件名（包含子文件夹）。"
        ),
    )


def _number(
    name: str, names: tuple[str, str], help_text: tuple[str, str], bounds: tuple[float, float] = (0, 100)
) -> Rule:
    return Rule(
        name=name,
        type="float",
        label=Text(en_US=names[0], zh_Hans=names[1]),
        help=Text(en_US=help_text[0], zh_Hans=help_text[1]),
        min=bounds[0],
        max=bounds[1],
        precision=2,
    )


_FIRST: tuple[Rule, ...] = (
    DRAFT,
    _file("unet", "Diffusion model", "扩散模型"),
    _file("clip", "Text encoder", "文本编码器"),
    _file("vae", "VAE", "VAE"),
    _file("lora", "LoRA", "LoRA"),
    _file("controlnet", "ControlNet", "ControlNet"),
    _file("upscale_model", "Upscale model", "放大模型"),
    _file("clip_vision", "CLIP vision model", "CLIP 视觉模型"),
    _file("style_model", "Style model", "风格模型"),
    _number(
        "lora_strength",
        ("LoRA strength", "LoRA 强度"),
        ("How strongly the LoRA acts; 0 switches it off.", "LoRA 的作用强度；0 表示关闭。"),
        (-100, 100),
    ),
    _number(
        "lora_clip_strength",
        ("LoRA strength on the text encoder", "LoRA 对文本编码器的强度"),
        ("How strongly the LoRA acts on the reading of the prompt.", "LoRA 对提示词理解的作用强度。"),
        (-100, 100),
    ),
    _number(
        "controlnet_strength",
        ("ControlNet strength", "ControlNet 强度"),
        ("How strictly the image follows the control image.", "画面遵循控制图的程度。"),
        (0, 10),
    ),
    _number(
        "guidance",
        ("Guidance", "引导系数"),
        ("How closely FLUX follows the prompt.", "FLUX 遵循提示词的程度。"),
    ),
    _number(
        "shift",
        ("Shift", "Shift 偏移"),
        ("Moves the sampling steps towards composition (higher) or detail.", "让采样偏向构图（越高）或细节。"),
    ),
    Rule(
        name="filename_prefix",
        type="string",
        label=Text(en_US="File name prefix", zh_Hans="文件名前缀"),
        help=Text(en_US="Folder and start of the file name on the server.", zh_Hans="服务器上的文件夹和文件名开头。"),
    ),
)

_BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in _FIRST}


def own_rule(name: str) -> Rule | None:
    """The rule of a parameter that only workflows have; `lora_2` is the second of its kind. None for others."""
    stem = name.rstrip("0123456789").rstrip("_")
    known = _BY_NAME.get(name) or _BY_NAME.get(stem)
    if known is None or known.name == name:
        return known
    number = name[len(stem) :].lstrip("_")
    chinese = known.label.zh_Hans or known.label.en_US
    return known.narrowed(name=name, label=Text(en_US=f"{known.label.en_US} {number}", zh_Hans=f"{chinese} {number}"))


_SECOND = ("clip_2", "lora_2", "lora_strength_2")

EXTRA_RULES: tuple[Rule, ...] = (*_FIRST, *(rule for name in _SECOND if (rule := own_rule(name))))
"""For `Backend.extra_rules`: everything that a card of this backend may list beyond the common vocabulary."""
