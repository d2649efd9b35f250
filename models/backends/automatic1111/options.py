"""The parameters that only the WebUI knows: their rules for the forms, and one typed object for the builders."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.backends.errors import BadRequest
from models.entities import ParameterValue
from models.parameters import Rule, make_rule

type ResizeMode = Literal["stretch", "crop", "fill", "latent"]
type InpaintFill = Literal["fill", "original", "latent noise", "latent nothing"]

# The server's numbers for them.
RESIZE_MODES: Mapping[ResizeMode, int] = {"stretch": 0, "crop": 1, "fill": 2, "latent": 3}
INPAINT_FILLS: Mapping[InpaintFill, int] = {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3}

MAX_BORDER = 2048  # pixels of outpainting per side


class Options(BaseModel):
    """`request.extra`, typed. None means: not asked for, the server's default holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = 1
    vae: str = ""
    clip_skip: int | None = None
    restore_faces: bool | None = None
    tiling: bool | None = None
    distilled_cfg_scale: float | None = None
    hires_scale: float | None = None
    hires_upscaler: str = ""
    hires_steps: int | None = None
    refiner_checkpoint: str = ""
    refiner_switch_at: float = 0.8
    resize_mode: ResizeMode = "crop"
    mask_blur: int = 4
    inpaint_fill: InpaintFill | None = None
    inpaint_only_masked: bool = False
    inpaint_padding: int = 32
    inpaint_invert: bool = False
    outpaint_left: int = 0
    outpaint_right: int = 0
    outpaint_up: int = 0
    outpaint_down: int = 0
    upscaler: str = ""
    upscale_by: float | None = None
    controlnet_model: str = ""
    controlnet_module: str = ""
    controlnet_weight: float = 1.0
    adetailer_model: str = ""
    adetailer_prompt: str = ""
    infotext: bool = False

    @property
    def outpaints(self) -> bool:
        return any((self.outpaint_left, self.outpaint_right, self.outpaint_up, self.outpaint_down))

    @property
    def upscales(self) -> bool:
        """Enlarging a given image without painting."""
        return bool(self.upscaler or self.upscale_by)


def read_options(extra: Mapping[str, ParameterValue]) -> Options:
    """Raises BadRequest naming the parameter. The values have passed their rules; this guards callers without rules."""
    try:
        return Options.model_validate(dict(extra))
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise BadRequest(f"The parameter `{name}` cannot be used", fault["msg"], "Change its value") from None


def _border(name: str, side: tuple[str, str]) -> Rule:
    return make_rule(
        name,
        "int",
        (f"Outpaint {side[0]}", f"向{side[1]}扩图"),
        (
            f"Pixels to add to the input image on this side ({side[0]}); the new area is painted from the prompt.",
            f"在输入图片{side[1]}侧增加的像素；新区域按提示词绘制。",
        ),
        min=0,
        max=MAX_BORDER,
    )


EXTRA_RULES: tuple[Rule, ...] = (
    make_rule(
        "batch_size",
        "int",
        ("Batch size", "单批数量"),
        (
            "How many of the images are painted at once, at most: faster, and needs more GPU memory.",
            "每批最多同时绘制的图片数：更快，但占用更多显存。",
        ),
        min=1,
        max=8,
    ),
    make_rule(
        "vae",
        "string",
        ("VAE", "VAE"),
        (
            "VAE file on the server for this request. On Forge: VAE and text encoders, separated by commas.",
            "本次请求使用的服务器 VAE 文件；在 Forge 上可用逗号分隔填写 VAE 与文本编码器。",
        ),
    ),
    make_rule(
        "clip_skip",
        "int",
        ("Clip skip", "CLIP 跳过层"),
        (
            "Stop CLIP at this last layer; many anime models want 2.",
            "在 CLIP 的倒数第几层停止；许多动漫模型需要 2。",
        ),
        min=1,
        max=12,
    ),
    make_rule(
        "restore_faces",
        "boolean",
        ("Restore faces", "面部修复"),
        ("Repairs faces after painting.", "绘制后修复面部。"),
    ),
    make_rule(
        "tiling",
        "boolean",
        ("Tiling", "平铺"),
        ("Makes an image that can be tiled without seams.", "生成可无缝平铺的图片。"),
    ),
    make_rule(
        "distilled_cfg_scale",
        "float",
        ("Distilled CFG scale", "蒸馏引导系数"),
        (
            "Guidance of FLUX on Forge (3.5 is usual, with a CFG scale of 1). Other servers ignore it.",
            "Forge 上 FLUX 的引导系数（通常 3.5，且 CFG 为 1）；其他服务器会忽略。",
        ),
        min=0,
        max=30,
        precision=2,
    ),
    make_rule(
        "hires_scale",
        "float",
        ("Hires fix scale", "高清修复倍数"),
        (
            "Paints small, enlarges by this factor and paints once more. Empty or 1: off.",
            "先画小图，按此倍数放大后再次绘制；留空或 1 为关闭。",
        ),
        min=1,
        max=4,
        precision=2,
    ),
    make_rule(
        "hires_upscaler",
        "string",
        ("Hires fix upscaler", "高清修复放大算法"),
        ("Upscaler of the hires fix; `Latent` if empty.", "高清修复使用的放大算法；留空为 Latent。"),
    ),
    make_rule(
        "hires_steps",
        "int",
        ("Hires fix steps", "高清修复步数"),
        ("Steps of the second pass; 0 as many as the first.", "第二遍的步数；0 表示与第一遍相同。"),
        min=0,
        max=150,
    ),
    make_rule(
        "refiner_checkpoint",
        "string",
        ("Refiner", "精修模型"),
        ("Checkpoint that takes over for the last steps.", "在最后若干步接手的模型。"),
    ),
    make_rule(
        "refiner_switch_at",
        "float",
        ("Refiner switch", "精修切换点"),
        ("Part of the steps after which the refiner takes over.", "完成多大比例的步数后切换到精修模型。"),
        default=0.8,
        min=0,
        max=1,
        precision=2,
    ),
    make_rule(
        "resize_mode",
        "string",
        ("Resize mode", "缩放模式"),
        (
            "How an input image of another shape is brought to width and height.",
            "输入图片与宽高比例不一致时的处理方式。",
        ),
        default="crop",
        options=tuple(RESIZE_MODES),
    ),
    make_rule(
        "mask_blur",
        "int",
        ("Mask blur", "蒙版模糊"),
        ("Softness of the mask's edge in pixels.", "蒙版边缘的柔化程度（像素）。"),
        default=4,
        min=0,
        max=64,
    ),
    make_rule(
        "inpaint_fill",
        "string",
        ("Masked content", "蒙版区域内容"),
        (
            "What the masked area starts from. Empty: `original`, and `fill` when outpainting.",
            "蒙版区域的初始内容；留空为 original，扩图时为 fill。",
        ),
        options=tuple(INPAINT_FILLS),
    ),
    make_rule(
        "inpaint_only_masked",
        "boolean",
        ("Only masked", "仅蒙版区域"),
        (
            "Paints the masked area alone at full resolution and puts it back.",
            "仅以全分辨率重绘蒙版区域，再贴回原图。",
        ),
        default=False,
    ),
    make_rule(
        "inpaint_padding",
        "int",
        ("Only masked padding", "仅蒙版区域边距"),
        (
            "Pixels around the masked area that are taken along with `only masked`.",
            "“仅蒙版区域”时额外包含的边距像素。",
        ),
        default=32,
        min=0,
        max=512,
    ),
    make_rule(
        "inpaint_invert",
        "boolean",
        ("Invert mask", "反转蒙版"),
        ("Repaints what the mask leaves free.", "重绘蒙版之外的区域。"),
        default=False,
    ),
    _border("outpaint_left", ("left", "左")),
    _border("outpaint_right", ("right", "右")),
    _border("outpaint_up", ("up", "上")),
    _border("outpaint_down", ("down", "下")),
    make_rule(
        "upscaler",
        "string",
        ("Upscaler", "放大算法"),
        (
            "With an input image: enlarges it with this upscaler and paints nothing.",
            "有输入图片时：用此算法放大图片，不进行绘制。",
        ),
    ),
    make_rule(
        "upscale_by",
        "float",
        ("Upscale by", "放大倍数"),
        (
            "With an input image: enlarges it by this factor and paints nothing. Empty, with an upscaler: to width and height, else 2.",
            "有输入图片时：按此倍数放大，不进行绘制；仅选择放大算法时：放大到指定宽高，否则为 2 倍。",
        ),
        min=1,
        max=8,
        precision=2,
    ),
    make_rule(
        "controlnet_model",
        "string",
        ("ControlNet model", "ControlNet 模型"),
        (
            "Guides the painting with an image: the only input image, or the second beside one to repaint.",
            "用图片引导绘制：唯一的输入图片，或在重绘图片之外的第二张图片。",
        ),
    ),
    make_rule(
        "controlnet_module",
        "string",
        ("ControlNet preprocessor", "ControlNet 预处理器"),
        (
            "Turns the control image into edges, depth, pose ...; empty if it already is a control map.",
            "将控制图转换为线稿、深度、姿态等；若已是控制图则留空。",
        ),
    ),
    make_rule(
        "controlnet_weight",
        "float",
        ("ControlNet weight", "ControlNet 权重"),
        ("How strongly the control image guides.", "控制图的引导强度。"),
        default=1,
        min=0,
        max=2,
        precision=2,
    ),
    make_rule(
        "adetailer_model",
        "string",
        ("ADetailer model", "ADetailer 模型"),
        (
            "Finds faces, hands or people and paints them again in detail, e.g. face_yolov8n.pt. Needs the extension.",
            "检测并精修面部、手部或人物，例如 face_yolov8n.pt；需安装该扩展。",
        ),
    ),
    make_rule(
        "adetailer_prompt",
        "text",
        ("ADetailer prompt", "ADetailer 提示词"),
        ("Prompt for the parts that ADetailer paints again.", "ADetailer 精修部分使用的提示词。"),
    ),
    make_rule(
        "infotext",
        "boolean",
        ("Generation parameters", "生成参数"),
        (
            "Adds the WebUI's own parameter text of each image to the notices.",
            "将 WebUI 的生成参数文本加入提示信息。",
        ),
        default=False,
    ),
)
