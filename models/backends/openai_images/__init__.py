"""Any server that speaks the OpenAI images API: OpenAI itself and the servers people run on their own GPUs."""

from models.backends.openai_images.backend import OpenAIImages

__all__ = ["OpenAIImages"]
