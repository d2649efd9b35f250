"""The examples at the end of each command's `--help`."""

EXAMPLES = {
    "run": """examples:
  python -m sandbox run workflows/text_to_image.yml -i prompt="a lighthouse" -i aspect_ratio=16:9
  python -m sandbox run workflows/edit_chat.yml --model preview --query "make it blue" --file photo.png
  python -m sandbox run workflows/text_to_image.yml -i prompt="a lighthouse" --json""",
    "invoke": """Any other --<parameter> value is a parameter of the model; `models MODEL` shows them.

examples:
  python -m sandbox invoke --model preview --prompt "a lighthouse" --seed 7 --details
  python -m sandbox invoke --model sd3.5-medium --prompt "in oil" --image photo.png --denoising_strength 0.6
  python -m sandbox invoke --model preview --prompt "a slow job" --simulate_seconds 10 --poll""",
    "serve": """Needs the group `playground`: uv sync --group playground

examples:
  python -m sandbox serve
  python -m sandbox serve --demo --no-browser --port 7900""",
    "models": """examples:
  python -m sandbox models
  python -m sandbox models automatic1111
  python -m sandbox models qwen-image-3.0 --chinese
  python -m sandbox models preview --json""",
    "doctor": """Asks each service whose fields are filled, without generating an image. Exit code 1 if one of them fails.

examples:
  python -m sandbox doctor
  IMAGE_GENERATION_COMFYUI_BASE_URL=http://192.168.1.20:8188 python -m sandbox doctor
  python -m sandbox doctor --credentials other.json --json""",
    "check": """examples:
  python -m sandbox check
  python -m sandbox check --credentials other.json""",
    "slots": """examples:
  python -m sandbox slots my_workflow.json --comfyui http://192.168.1.20:8188""",
    "audit": """examples:
  python -m sandbox audit plugin.log
  docker logs docker-plugin_daemon-1 2>&1 | python -m sandbox audit --by day,model --json""",
}
