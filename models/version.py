"""The plugin's version. It stands in `manifest.yaml` alone."""

from pathlib import Path

import yaml

_MANIFEST = Path(__file__).parents[1] / "manifest.yaml"

VERSION: str = yaml.safe_load(_MANIFEST.read_text("utf-8"))["version"]
