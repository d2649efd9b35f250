"""Stability AI's hosted models: the v2beta endpoints and the v1 engine behind one backend.

`backend.py` is the class, `models.py` what each model takes, read from its card, `wire.py` goes from a request to its
calls and from an answer to its images; `refusals.yaml` says what the service's errors mean.
"""

from models.backends.stability.backend import Stability

__all__ = ["Stability"]
