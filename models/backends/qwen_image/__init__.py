"""The image models of Alibaba Cloud Model Studio: Qwen-Image, Wan and Z-Image; Wan 2.1 for masks and outpainting.

`backend.py` is the class, `models.py` what each model takes, read from its card, `wire.py` goes from a request to the
bodies, with the editing functions of Wan, and reads what comes back. `client.py` holds the calls of one account,
`account.py` its region, address and kind of key, and what a refusal means for it.
"""

from models.backends.qwen_image.backend import QwenImage

__all__ = ["QwenImage"]
