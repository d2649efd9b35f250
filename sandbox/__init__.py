"""
Development only: a stand-in for Dify on one machine, left out of the package.

`Host` runs the plugin's own process and speaks the daemon's protocol with it, limits included.
"""

from sandbox.errors import CallTimeoutError, HostError, PluginDiedError, PluginError, PluginStartError, RefusedError
from sandbox.host import CallStatistics, Host, InvokeReply, PollingReply
from sandbox.process import Limits

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
]
