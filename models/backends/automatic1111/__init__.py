"""AUTOMATIC1111's WebUI and its relatives (Forge, reForge, SD.Next) over `/sdapi/v1`."""

from models.backends.automatic1111.backend import Automatic1111

__all__ = ["Automatic1111"]
