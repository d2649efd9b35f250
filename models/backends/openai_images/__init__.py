"""Any server that speaks the OpenAI images API: OpenAI itself, gateways, and the servers people run on their own GPUs.

`backend.py` is the way of a request, `detect.py` finds out which server answers at the form's address and checks the
form. `dialects.yaml` says how the servers differ, `families.yaml` what is known about models, and `models.py` puts the
two together as one served model with its form. `build.py` writes a request in a dialect's words, `client.py` sends it
and says with `refusals.yaml` what a refusal means.
"""

from models.backends.openai_images.backend import OpenAIImages

__all__ = ["OpenAIImages"]
