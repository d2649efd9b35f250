"""The model without a service: a labelled placeholder, drawn here."""

from models.backends.preview.backend import Preview

__all__ = ["Preview"]
