"""The parameter form of a model, from what its server and its family understand."""

from models.backends.openai_images.server import Server
from models.parameters import RULES, VOCABULARY, Rule, make_rule

_SHAPE = ("width", "height", "aspect_ratio")
_ALWAYS = frozenset({"output_format", "output_quality", "details", "timeout"})
_STYLES = ("vivid", "natural")


def _choice(name: str, label: tuple[str, str], help_text: tuple[str, str], *options: str) -> Rule:
    return make_rule(name, "string", label, help_text, options=options)


EXTRA_RULES: tuple[Rule, ...] = (
    _choice(
        "quality",
        ("Quality", "质量"),
        ("How much care OpenAI's model takes: higher is slower and dearer.", "OpenAI 模型的绘制质量：越高越慢、越贵。"),
        *("auto", "low", "medium", "high", "standard", "hd"),
    ),
    _choice(
        "background",
        ("Background", "背景"),
        ("Transparent needs PNG or WebP.", "透明背景需要 PNG 或 WebP。"),
        *("auto", "transparent", "opaque"),
    ),
    _choice(
        "moderation",
        ("Moderation", "内容审核"),
        (
            "How strictly OpenAI filters prompts of text-to-image requests.",
            "OpenAI 对文生图提示词的审核严格程度。",
        ),
        *("auto", "low"),
    ),
    _choice(
        "input_fidelity",
        ("Input fidelity", "输入保真度"),
        (
            "How closely an edit keeps faces and details of the input image.",
            "编辑时对输入图片的面部和细节的保留程度。",
        ),
        *("low", "high"),
    ),
)

_EXTRA = {rule.name: rule for rule in EXTRA_RULES}
_ALL = {**RULES, **_EXTRA}
_ORDER = (
    *(rule.name for rule in VOCABULARY if rule.name not in _ALWAYS),
    *_EXTRA,
    *(rule.name for rule in VOCABULARY if rule.name in _ALWAYS),
)
# Words of the vocabulary that no server of this kind knows.
_UNKNOWN = frozenset({"checkpoint", "prompt_extend", "watermark"})


def rules_for(server: Server) -> tuple[Rule, ...]:
    """The rules of one model on one server, in the order of the vocabulary."""
    offered = _offered(server)
    return tuple(_narrowed(_ALL[name], server) for name in _ORDER if name in offered)


def rules_for_any() -> tuple[Rule, ...]:
    """Every parameter that some server understands: for the form of a server that cannot be asked just now."""
    return tuple(_ALL[name] for name in _ORDER if name not in _UNKNOWN)


def _offered(server: Server) -> frozenset[str]:
    words = set(server.words) | _ALWAYS
    if "size" in words:
        words |= set(_SHAPE)
    if words & {"true_cfg_scale"}:
        words |= {"cfg_scale"}
    if server.n == 1:
        words -= {"n"}
    return frozenset(words)


def _narrowed(rule: Rule, server: Server) -> Rule:
    match rule.name:
        case "steps":
            return rule.narrowed(default=server.steps, max=server.dialect.steps)
        case "cfg_scale":
            return rule.narrowed(default=server.cfg, max=server.dialect.cfg)
        case "n":
            return rule.narrowed(max=server.n)
        case "seed" if server.dialect.seed is not None:
            return rule.narrowed(max=min(rule.max or 0, server.dialect.seed))
        case "quality":
            return rule.narrowed(options=server.family.qualities)
        case "style_preset":
            return rule.narrowed(options=_STYLES)
        case "sampler":
            return rule.narrowed(options=server.samplers)
        case "scheduler":
            return rule.narrowed(options=server.schedulers)
        case _:
            return rule
