"""Any server with the OpenAI images API: OpenAI itself, gateways, and self-hosted servers.

- `backend.py`: the class
- `detect.py`: recognises the server at an address, and checks it when the form is saved
- `dialects.yaml`, `families.yaml`, `models.py`: one model on one server, by what is known of both, and its form
- `build.py`, `client.py`, `refusals.yaml`: the request in a dialect's keys, its call, and what errors mean
"""

from models.backends.openai_images.backend import OpenAIImages

__all__ = ["OpenAIImages"]
