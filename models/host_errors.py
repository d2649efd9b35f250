"""Errors for the host: every failure becomes one of its five error classes, a sentence without secrets."""

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.errors.model import InvokeError, InvokeServerUnavailableError

from models.backends.errors import ImageError, redact
from models.settings import Settings

logger = logging.getLogger("image_generation")
if plugin_logger_handler not in logger.handlers:
    logger.addHandler(plugin_logger_handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)  # for the audit lines and what a credential check found


@contextmanager
def host_errors(credentials: Mapping[str, object]) -> Iterator[None]:
    """Translate everything that leaves the block. The cause is cut off: the host sends tracebacks to its log."""
    try:
        yield
    except InvokeError:
        raise
    except Exception as error:  # noqa: BLE001 -- the host shows anything else as raw JSON
        raise translated(error, credentials) from None


def translated(error: Exception, credentials: Mapping[str, object]) -> InvokeError:
    """The host's error for `error`; an unforeseen one is logged with its traceback and named by its type only."""
    secrets = Settings(credentials).secrets
    if isinstance(error, ImageError):
        return error.host(redact(str(error), secrets))
    logger.error("unforeseen failure: %s", redact("".join(traceback.format_exception(error)), secrets))
    return InvokeServerUnavailableError(
        f"The plugin itself failed ({type(error).__name__}). Try again; if it stays, report it with the plugin's log."
    )
