"""Start of the plugin process. `dify_plugin` comes first: the import patches sockets for gevent."""

import gc

gc.disable()  # until the plugin is ready: what a start makes stays, and to search it for garbage takes a tenth of the time

from dify_plugin import DifyPluginEnv, Plugin  # isort: split

import ctypes
import sys

import yaml

# The SDK reads every model card with the pure-Python loader, which takes a third of a second; libyaml is as safe.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]

# By default glibc keeps freed blocks of up to 32 MiB in the heap of the thread: a result of ten large images left
# 200 MiB allocated. With these settings glibc returns such blocks to the system at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _BIG = -1, -3, 8 * 1024 * 1024
if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
    libc.mallopt(_M_MMAP_THRESHOLD, _BIG)
    libc.mallopt(_M_TRIM_THRESHOLD, _BIG)

# The host gives one call 600 seconds; the SDK's own limits must not be lower.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600, MAX_INVOCATION_TIMEOUT=600))
gc.enable()
gc.freeze()

if __name__ == "__main__":
    plugin.run()
