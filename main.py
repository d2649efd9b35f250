"""Start of the plugin process. `dify_plugin` comes first: importing it makes sockets cooperative."""

from dify_plugin import DifyPluginEnv, Plugin  # isort: split

import yaml

# The SDK reads every model card with the pure-Python loader, a third of a second of the start; libyaml's is as safe.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]

# The host gives one call 600 seconds; the SDK's own limits must not end it earlier.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600, MAX_INVOCATION_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
