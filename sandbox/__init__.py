"""
A local replacement for Dify, for development only; not part of the package.

It reads the plugin's folder and runs the plugin as a process over stdio. From the command line:

    uv run python -m sandbox run workflows/text_to_image.yml -i prompt="a lighthouse" -i aspect_ratio=16:9
    uv run python -m sandbox invoke --model preview --prompt "a lighthouse" --seed 7 --details
    uv run python -m sandbox check
    uv run python -m sandbox models
    uv run python -m sandbox doctor
    uv run python -m sandbox serve --demo

From a test or a benchmark: `Host` makes single calls like the plugin daemon, with the same limits;
`sandbox.workflow.run_workflow` runs an exported app on Dify's own workflow engine.

    with Host(processes=2) as host:
        reply = host.invoke("preview", {}, [user("a lighthouse", image_part(data))], {"seed": 7})
        reply.images[0].data, reply.usage, reply.statistics.largest_line

Not supported: Dify's database and user interface, knowledge bases, tools, agents, the SSRF proxy that blocks private
addresses, and a chatflow's conversation variables between turns.
"""

from sandbox.errors import CallTimeoutError, HostError, PluginDiedError, PluginError, PluginStartError, RefusedError
from sandbox.host import CallStatistics, Host, InvokeReply, PollingReply
from sandbox.process import Limits
from sandbox.protocol import assistant, image_file_part, image_part, image_url_part, system, user

__all__ = [
    "CallStatistics",
    "CallTimeoutError",
    "Host",
    "HostError",
    "InvokeReply",
    "Limits",
    "PluginDiedError",
    "PluginError",
    "PluginStartError",
    "PollingReply",
    "RefusedError",
    "assistant",
    "image_file_part",
    "image_part",
    "image_url_part",
    "system",
    "user",
]
