"""Stability AI's hosted models: the two families of its REST API behind one backend."""

from models.backends.stability.backend import Stability

__all__ = ["Stability"]
