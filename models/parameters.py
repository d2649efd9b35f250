"""The one vocabulary of parameters: their rules, and the reading of values that arrive typed in every possible way."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from models.backends.errors import BadRequest
from models.entities import ParameterValue

MAX_SEED = 2**53 - 1  # the host carries numbers as float64; a larger seed would come back as another one
RANDOM_SEED = -1

type RuleType = Literal["int", "float", "string", "text", "boolean"]


class Text(BaseModel):
    """A sentence in the languages of the plugin; the host falls back to English."""

    model_config = ConfigDict(frozen=True)

    en_US: str  # noqa: N815 -- the host's names
    zh_Hans: str | None = None  # noqa: N815
    ja_JP: str | None = None  # noqa: N815


class Rule(BaseModel):
    """One parameter: the same fields as a `parameter_rules` entry of a model card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: RuleType
    label: Text
    help: Text | None = None
    required: bool = False
    default: ParameterValue | None = None
    min: float | None = None
    max: float | None = None
    precision: int | None = None
    options: tuple[str, ...] = ()

    def narrowed(self, **changes: object) -> Self:
        """The same parameter with other bounds, choices, default or help, as one model has them."""
        return self.model_validate({**self.model_dump(), **changes})


def make_rule(name: str, kind: RuleType, label: tuple[str, str], help_text: tuple[str, str], **bounds: object) -> Rule:
    """A rule with its label and help in English and Chinese; `bounds` are further fields of Rule."""
    return Rule.model_validate(
        {
            "name": name,
            "type": kind,
            "label": {"en_US": label[0], "zh_Hans": label[1]},
            "help": {"en_US": help_text[0], "zh_Hans": help_text[1]},
            **bounds,
        }
    )


ASPECT_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16", "9:21")
OUTPUT_FORMATS = ("png", "jpeg", "webp")

VOCABULARY: tuple[Rule, ...] = (
    make_rule(
        "width",
        "int",
        ("Width", "宽度"),
        (
            "Width of the image in pixels. Wins over the aspect ratio together with the height.",
            "图片宽度（像素）。与高度同时设置时优先于宽高比。",
        ),
        min=16,
        max=16384,
    ),
    make_rule(
        "height",
        "int",
        ("Height", "高度"),
        (
            "Height of the image in pixels. Wins over the aspect ratio together with the width.",
            "图片高度（像素）。与宽度同时设置时优先于宽高比。",
        ),
        min=16,
        max=16384,
    ),
    make_rule(
        "aspect_ratio",
        "string",
        ("Aspect ratio", "宽高比"),
        (
            "Shape of the image; used when width and height are not both set.",
            "图片的形状；仅在未同时设置宽度和高度时生效。",
        ),
        options=ASPECT_RATIOS,
    ),
    make_rule(
        "steps",
        "int",
        ("Steps", "采样步数"),
        (
            "Number of sampling steps: more is slower and, up to a point, finer.",
            "采样步数：越多越慢，在一定范围内越精细。",
        ),
        min=1,
        max=200,
    ),
    make_rule(
        "cfg_scale",
        "float",
        ("CFG scale", "提示词引导系数"),
        ("How closely the image follows the prompt.", "画面遵循提示词的程度。"),
        min=0,
        max=35,
        precision=2,
    ),
    make_rule(
        "negative_prompt",
        "text",
        ("Negative prompt", "反向提示词"),
        ("What must not appear in the image.", "不希望出现在画面中的内容。"),
    ),
    make_rule(
        "seed",
        "int",
        ("Seed", "随机种子"),
        (
            "The same seed and settings give the same image where the service allows it; -1 or empty is random. The seed used is reported.",
            "在服务支持时，相同的种子和设置会得到相同的图片；-1 或留空为随机。结果中会给出实际使用的种子。",
        ),
        min=RANDOM_SEED,
        max=MAX_SEED,
    ),
    make_rule(
        "n",
        "int",
        ("Number of images", "图片数量"),
        ("How many images to make in one request.", "一次请求生成的图片数量。"),
        default=1,
        min=1,
        max=10,
    ),
    make_rule(
        "sampler",
        "string",
        ("Sampler", "采样器"),
        ("Sampling method.", "采样方法。"),
    ),
    make_rule(
        "scheduler",
        "string",
        ("Scheduler", "调度器"),
        ("Noise schedule of the sampler.", "采样器的噪声调度方式。"),
    ),
    make_rule(
        "denoising_strength",
        "float",
        ("Denoising strength", "重绘强度"),
        ("With an input image: 0 keeps it, 1 ignores it.", "使用输入图片时：0 为保持原图，1 为忽略原图。"),
        min=0,
        max=1,
        precision=2,
    ),
    make_rule(
        "style_preset",
        "string",
        ("Style preset", "风格预设"),
        ("Guides the image towards a style.", "引导画面朝某种风格生成。"),
    ),
    make_rule(
        "output_format",
        "string",
        ("Output format", "输出格式"),
        ("File format of the image.", "图片的文件格式。"),
        options=OUTPUT_FORMATS,
    ),
    make_rule(
        "output_quality",
        "int",
        ("Output quality", "输出质量"),
        ("Quality of JPEG and WebP, 1 to 100.", "JPEG 和 WebP 的质量，1 到 100。"),
        min=1,
        max=100,
    ),
    make_rule(
        "checkpoint",
        "string",
        ("Checkpoint", "模型文件"),
        (
            "Model file on the server; empty keeps the server's own choice.",
            "服务器上的模型文件；留空则使用服务器当前的模型。",
        ),
    ),
    make_rule(
        "prompt_extend",
        "boolean",
        ("Extend prompt", "智能改写提示词"),
        ("Lets the service rewrite and enrich the prompt.", "允许服务改写并丰富提示词。"),
    ),
    make_rule(
        "watermark",
        "boolean",
        ("Watermark", "水印"),
        ("Adds the service's watermark.", "添加服务商的水印。"),
    ),
    make_rule(
        "details",
        "boolean",
        ("Details", "附加信息"),
        (
            "Adds one line of JSON before the image: model, seed, size, duration, notices.",
            "在图片前输出一行 JSON：模型、种子、尺寸、耗时、提示信息。",
        ),
        default=False,
    ),
    make_rule(
        "timeout",
        "int",
        ("Timeout", "超时时间"),
        (
            "Seconds for the whole job; then it is cancelled and reported as failed.",
            "整个任务的最长时间（秒），超时后任务会被取消并报告失败。",
        ),
        min=1,
        max=7200,
    ),
)

PROMPT_RULE = make_rule(
    "prompt",
    "text",
    ("Prompt", "提示词"),
    ("What the image shows. It comes from the node's messages.", "画面内容，来自节点的消息。"),
    required=True,
)

RULES: Mapping[str, Rule] = {rule.name: rule for rule in VOCABULARY}


def read_values(rules: Iterable[Rule], values: Mapping[str, object]) -> dict[str, ParameterValue]:
    """The values that have a rule, each as the type that its rule names; defaults are filled in, the rest stays absent.

    Numbers may come as text, whole numbers as floats, booleans as words: workflow variables are typed by their
    content. Values without a rule are left out (a fresh LLM node carries `temperature`).
    Raises BadRequest with one sentence that names the parameter, the value and what is allowed.
    """
    read: dict[str, ParameterValue] = {}
    for rule in rules:
        value = values.get(rule.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            value = rule.default
        if value is not None:
            read[rule.name] = read_value(rule, value)
    return read


def read_value(rule: Rule, value: object) -> ParameterValue:
    """One value as its rule's type, checked against bounds and choices. Raises BadRequest."""
    match rule.type:
        case "int":
            return _within(rule, _whole(rule, value), value)
        case "float":
            return _within(rule, _number(rule, value), value)
        case "boolean":
            return _truth(rule, value)
        case "string":
            return _choice(rule, _plain(value))
        case "text":
            return _plain(value)


def _number(rule: Rule, value: object, allowed: str = "a number") -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if number == number and abs(number) != float("inf"):  # noqa: PLR0124 -- NaN is the one number unequal to itself
            return number
    raise refused(rule, value, allowed)


# Longer digits are out of every bound, and int() itself refuses very many of them.
_EXACT_WHOLE = re.compile(r"[+-]?\d{1,20}")


def _whole(rule: Rule, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _EXACT_WHOLE.fullmatch(value.strip()):
        return int(value)
    number = _number(rule, value, "a whole number")
    if number != int(number):
        raise refused(rule, value, "a whole number")
    return int(number)


def _within[N: (int, float)](rule: Rule, number: N, value: object) -> N:
    low, high = rule.min, rule.max
    if (low is not None and number < low) or (high is not None and number > high):
        raise refused(rule, value, _bounds(low, high))
    return number


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"a number between {_plain(low)} and {_plain(high)}"
    return f"a number of at least {_plain(low)}" if low is not None else f"a number of at most {_plain(high)}"


_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def _truth(rule: Rule, value: object) -> bool:
    word = _plain(value).lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise refused(rule, value, "true or false")


def _plain(value: object) -> str:
    # A workflow variable with the text `1.0` or `true` arrives as a number or a boolean.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _choice(rule: Rule, word: str) -> str:
    if not rule.options or word in rule.options:
        return word
    matches = [option for option in rule.options if option.casefold() == word.casefold()]
    if len(matches) == 1:
        return matches[0]
    raise refused(rule, word, f"one of {_listed(rule.options)}")


_LISTED = 24


def _listed(options: Sequence[str]) -> str:
    shown = ", ".join(options[:_LISTED])
    return shown if len(options) <= _LISTED else f"{shown} … ({len(options)} in all)"


def refused(rule: Rule, value: object, allowed: str) -> BadRequest:
    shown = str(value)
    return BadRequest(f"The parameter `{rule.name}` cannot be {shown[:80]!r}", next_step=f"Give {allowed}")
