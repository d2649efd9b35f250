"""Qwen-Image at Alibaba Cloud Model Studio (DashScope)."""

from models.backends.qwen_image.backend import QwenImage

__all__ = ["QwenImage"]
