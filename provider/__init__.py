"""The credential form and the provider class."""
