"""The areas of the code that messages are grouped by, in the catalogue's files and in the documentation."""

from collections.abc import Mapping
from pathlib import PurePosixPath

TITLES: Mapping[str, tuple[str, str]] = {
    "shared": ("Everywhere", "通用"),
    "settings": ("Settings", "设置"),
    "requests": ("Requests and parameters", "请求和参数"),
    "images": ("Image files", "图片文件"),
    "services": ("Every service", "所有服务"),
    "ark": ("Ark", "火山方舟"),
    "automatic1111": ("AUTOMATIC1111", "AUTOMATIC1111"),
    "black_forest_labs": ("Black Forest Labs", "Black Forest Labs"),
    "comfyui": ("ComfyUI", "ComfyUI"),
    "contact_sheet": ("Contact sheet", "总览图"),
    "fal": ("fal", "fal"),
    "google": ("Google", "Google"),
    "huggingface": ("Hugging Face", "Hugging Face"),
    "openai_images": ("OpenAI-style servers", "OpenAI 式接口"),
    "openrouter": ("OpenRouter", "OpenRouter"),
    "preview": ("Preview", "预览"),
    "qwen_image": ("Qwen-Image (Model Studio)", "Qwen-Image（百炼）"),
    "replicate": ("Replicate", "Replicate"),
    "stability": ("Stability AI", "Stability AI"),
    "zhipu": ("Zhipu", "智谱"),
    "stages": ("Limits, quotas, moderation, marks", "限制、配额、审核和标记"),
    "cache": ("Cache", "缓存"),
    "storage": ("Storage", "存储"),
    "output": ("Answers to Dify", "给 Dify 的应答"),
}
"""Each area and its titles in English and Chinese, in the order of the documentation."""

_SETTINGS = frozenset({"limits", "marks", "settings", "redis_client"})
_OUTPUT = frozenset({"entities", "output"})


def area_of(path: str) -> str:
    """The area of a file, given by its path from the root. A service's own folder is an area."""
    parts = PurePosixPath(path).with_suffix("").parts
    match parts:
        case ("models", "backends" | "llm", service, *_) if len(parts) > 3:  # noqa: PLR2004 -- a file in a folder
            return service
        case ("models", "backends", *_):
            return "services"
        case ("models", "stages", "cache", *_):
            return "cache"
        case ("models", "stages" | "storage" | "images" as room, *_):
            return room
        case ("models", name, *_) if name in _OUTPUT:
            return "output"
        case ("models", name, *_) if name in _SETTINGS:
            return "settings"
        case ("provider", *_):
            return "settings"
        case _:
            return "requests"
