"""OpenRouter: many vendors' image models behind one key and one bill.

`backend.py` is the way of a request, `wire.py` what is sent and answered.
"""

from models.backends.openrouter.backend import OpenRouter

__all__ = ["OpenRouter"]
