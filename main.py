"""Start of the plugin process. `dify_plugin` comes first: importing it makes sockets cooperative."""

from dify_plugin import DifyPluginEnv, Plugin  # isort: split

import ctypes

import yaml

# The SDK reads every model card with the pure-Python loader, a third of a second of the start; libyaml's is as safe.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]

# Memory of a decoded image goes back to the system at once: glibc would learn to keep such blocks, for each thread anew.
_M_MMAP_THRESHOLD = -3
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(_M_MMAP_THRESHOLD, 8 * 1024 * 1024)

# The host gives one call 600 seconds; the SDK's own limits must not end it earlier.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600, MAX_INVOCATION_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
