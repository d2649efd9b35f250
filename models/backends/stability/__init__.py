"""Stability AI's hosted models: the v2beta endpoints and the v1 engine behind one backend.

- `backend.py`: the class; from a request to one v1 call or `n` v2beta calls
- `models.py`: what each model takes, read from its card
- `build.py`: from a request to the calls, without I/O
- `wire.py`: what travels, and the images in an answer
- `refusals.yaml`: what the service's errors mean
"""

from models.backends.stability.backend import Stability

__all__ = ["Stability"]
