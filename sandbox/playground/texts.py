"""The words of the page in English and Chinese."""

from typing import Literal

type Language = Literal["en", "zh"]

_TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Image playground", "图像试验台"),
    "models": ("Models", "模型"),
    "models_help": ("Choose several to compare them side by side", "可选择多个模型并排比较"),
    "prompt": ("Prompt", "提示词"),
    "prompt_help": (
        "{red|blue} bicycle makes one image for each variant",
        "{红色|蓝色}自行车 会为每个变体生成一张图像",
    ),
    "parameters": ("Parameters", "参数"),
    "unset": ("default of the service", "服务默认值"),
    "images": ("Input images", "输入图像"),
    "mask": ("Draw a mask", "绘制蒙版"),
    "mask_help": (
        "Upload an image and paint over the part to change. It becomes the first input image, with its mask.",
        "上传图像并涂抹需要修改的部分。该图像成为第一张输入图像，并附带蒙版。",
    ),
    "run": ("Generate", "生成"),
    "stop": ("Stop waiting", "停止等待"),
    "results": ("Results", "结果"),
    "create": ("Create", "创作"),
    "history": ("History", "历史"),
    "history_help": (
        "Select an image to see its settings, to use them again or to download it.",
        "选择一张图像以查看设置、再次使用或下载。",
    ),
    "reuse": ("Use these settings", "使用这些设置"),
    "reuse_seed": ("Use only the seed", "仅使用种子"),
    "read_back": ("Read the settings of an image made here", "读取本页所生成图像的设置"),
    "settings": ("Settings", "设置"),
    "refresh": ("Refresh", "刷新"),
    "credentials": ("Credentials", "凭据"),
    "credentials_help": (
        "Values stay in the memory of this program unless you save them to credentials.json. Empty fields stay as they are; keys are never shown.",
        "除非保存到 credentials.json，否则仅保存在本程序的内存中。空白字段保持不变；密钥不会显示。",
    ),
    "use": ("Use until the program ends", "使用至程序结束"),
    "save": ("Save to credentials.json", "保存到 credentials.json"),
    "forget": ("Forget all", "全部清除"),
    "check": ("Check the services", "检查服务"),
    "is_set": ("is set", "已设置"),
    "kept": ("In use until the program ends.", "在程序结束前有效。"),
    "saved": ("Saved to {path}.", "已保存到 {path}。"),
    "forgotten": ("All credentials are removed from memory.", "内存中的凭据已全部清除。"),
    "raw": ("Raw exchange", "原始通信"),
    "waiting": ("waiting", "等待中"),
    "running": ("running", "运行中"),
    "checks": ("checks", "次检查"),
    "failed": ("failed", "失败"),
    "model": ("model", "模型"),
    "seed": ("seed", "种子"),
    "size": ("size", "尺寸"),
    "price": ("price", "价格"),
    "seconds": ("seconds", "耗时（秒）"),
    "free": ("none reported", "未报告"),
    "download": ("Download", "下载"),
    "notices": ("Notices", "提示"),
    "no_model": ("Choose a model.", "请选择模型。"),
    "no_prompt": ("Write a prompt or give an image.", "请填写提示词或提供图像。"),
    "too_many": (
        "This makes {count} calls; at most {most} are allowed. Use fewer variants or models.",
        "这将产生 {count} 次调用，最多允许 {most} 次。请减少变体或模型。",
    ),
    "unknown_image": ("This image was not made here.", "该图像不是在本页生成的。"),
    "nothing_yet": ("The images appear here.", "图像将显示在这里。"),
}


def text(key: str, language: Language) -> str:
    return _TEXTS[key][language == "zh"]
