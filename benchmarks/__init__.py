"""Benchmarks of the plugin: `uv run python -m benchmarks.<name>`; each prints a table."""
