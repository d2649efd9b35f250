"""The entry class and the model cards, one folder per backend."""
