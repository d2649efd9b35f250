"""Stability AI's hosted models: the v2beta endpoints and the v1 engine behind one backend.

- `backend.py`: the class; from a request to one v1 call or `n` v2beta calls
- `models.py`: what each model takes, read from its card
- `wire.py`: from a request to the calls, and from an answer to its images
- `refusals.yaml`: what the service's errors mean
"""

from models.backends.stability.backend import Stability

__all__ = ["Stability"]
