"""The errors between the sandbox and the plugin, one class per cause."""


class HostError(Exception):
    """Base class of all errors of the sandbox."""


class PluginError(HostError):
    """
    The plugin answered a call with an error message.

    `str()` is the plugin's sentence as it came; `error_type` is the class name that the host maps, `traceback` what
    would reach the host's logs.
    """

    def __init__(self, *, error_type: str, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.traceback = traceback


class PluginDiedError(HostError):
    """
    The plugin process ended while a call was open.

    The daemon leaves such calls hanging until their time limit; here they fail at once, with the reason,
    the end of stderr, and the length in bytes of an oversize line if one was the cause.
    """

    def __init__(self, *, reason: str, stderr_tail: str = "", line_length: int | None = None) -> None:
        super().__init__(f"{reason}\n{stderr_tail}".strip())
        self.reason = reason
        self.stderr_tail = stderr_tail
        self.line_length = line_length


class PluginStartError(HostError):
    """The plugin process did not start."""


class CallTimeoutError(HostError):
    """The call exceeded the daemon's time limit."""


class RefusedError(HostError):
    """The daemon would refuse this request or reply."""


class DownloadError(HostError):
    """The host cannot fetch an image that the model named by its address."""


class UsageError(Exception):
    """Base class of what the user of the sandbox can correct: arguments, inputs, files."""
