"""Qwen-Image at Alibaba Cloud Model Studio, and Wan 2.1 for masks and outpainting.

- `backend.py`: the class; a request becomes one or several calls or tasks
- `models.py`: what each model takes, read from its card, also for models without a card
- `wire.py`: from a request to the bodies, with the editing functions of Wan, and what comes back
- `client.py`: the calls of one account, and the download of results
- `account.py`: region, address and kind of key, and what a refusal means for it (`refusals.yaml`: the error codes)
- `parameters.yaml`: the parameters that only this service has
"""

from models.backends.qwen_image.backend import QwenImage

__all__ = ["QwenImage"]
