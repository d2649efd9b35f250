"""Start of the plugin process. `dify_plugin` comes first: importing it makes sockets cooperative."""

from dify_plugin import DifyPluginEnv, Plugin

# The host gives one call 600 seconds; the SDK's own limits must not end it earlier.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600, MAX_INVOCATION_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
