"""Parameters that only Model Studio knows."""

from models.backends.qwen_image.functions import FUNCTIONS
from models.parameters import Rule, make_rule


def _scale(side: str, chinese: str) -> Rule:
    return make_rule(
        f"{side}_scale",
        "float",
        (f"Expand {side}", f"向{chinese}扩展"),
        (
            f"With `expand`: how far the image grows to the {side}, as a multiple; 1 leaves that side alone.",
            f"用于 expand：向{chinese}扩展的倍数；1 表示该方向不变。",
        ),
        min=1,
        max=2,
        precision=2,
    )


EXTRA_RULES: tuple[Rule, ...] = (
    make_rule(
        "prompt_extend_mode",
        "string",
        ("Prompt mode", "提示词改写模式"),
        (
            "How the service rewrites the prompt: `direct`, or `agent` for text-to-image only.",
            "服务改写提示词的方式：direct；agent 仅用于文生图。",
        ),
        options=("direct", "agent"),
    ),
    make_rule(
        "enable_thinking",
        "boolean",
        ("Think first", "深度思考"),
        (
            "Lets the model think while it extends the prompt: better and slower.",
            "改写提示词时先进行思考：效果更好，速度更慢。",
        ),
    ),
    make_rule(
        "edit_function",
        "string",
        ("Editing function", "编辑功能"),
        (
            "What is done with the image. Empty: the region under the mask if there is one, else the instruction.",
            "对图片执行的操作。留空时：有蒙版则重绘蒙版区域，否则按指令编辑。",
        ),
        options=tuple(FUNCTIONS),
    ),
    _scale("top", "上"),
    _scale("bottom", "下"),
    _scale("left", "左"),
    _scale("right", "右"),
    make_rule(
        "upscale_factor",
        "int",
        ("Upscale factor", "放大倍数"),
        ("With `super_resolution`: how many times larger.", "用于 super_resolution：放大倍数。"),
        min=1,
        max=4,
    ),
    make_rule(
        "is_sketch",
        "boolean",
        ("Input is a sketch", "输入为线稿"),
        (
            "With `doodle`: the image is a line drawing already, no lines need to be drawn out of it.",
            "用于 doodle：输入图片已是线稿，无需再提取线条。",
        ),
    ),
)
