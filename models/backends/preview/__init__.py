"""The model without a service: a labelled placeholder, drawn here.

`backend.py` is the class, `drawing.py` the image and its text.
"""

from models.backends.preview.backend import Preview

__all__ = ["Preview"]
