"""What the plugin is measured by: `uv run python -m benchmarks.<name>`; each prints one Markdown table."""
