"""The model without a service: a labelled placeholder, drawn here.

`backend.py` is the class, `drawing.py` the image, `text.py` the fonts and the lines of text.
"""

from models.backends.preview.backend import Preview

__all__ = ["Preview"]
