"""Start of the plugin process. `dify_plugin` comes first: importing it makes sockets cooperative."""

from dify_plugin import DifyPluginEnv, Plugin  # isort: split

import ctypes
import sys

import yaml

# The SDK reads every model card with the pure-Python loader, a third of a second of the start; libyaml's is as safe.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]

# A freed block of up to 32 MiB would stay with the process, in the heap of the thread that freed it: an answer of ten
# big images left 200 MiB behind. glibc gives blocks of this size back at once; the heap may keep as much at its end.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _BIG = -1, -3, 8 * 1024 * 1024
if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
    libc.mallopt(_M_MMAP_THRESHOLD, _BIG)
    libc.mallopt(_M_TRIM_THRESHOLD, _BIG)

# The host gives one call 600 seconds; the SDK's own limits must not end it earlier.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600, MAX_INVOCATION_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
