"""What an error of the HTTP library means: whether a request reached the service, and the words for the user."""

import ssl
from urllib.parse import urlsplit

import requests
import urllib3
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

# requests passes on a few of urllib3's own errors for malformed addresses.
NETWORK_TROUBLE = (requests.RequestException, urllib3.exceptions.HTTPError)
_BAD_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationParseError,
)


def hopeless(error: Exception) -> bool:
    """Whether the request would fail again: a wrong address or certificate."""
    return isinstance(error, (*_BAD_ADDRESS, requests.exceptions.SSLError))


def refused(error: Exception) -> bool:
    """Whether the connection itself failed, so that no byte of the request reached the service."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)


def unanswered(error: Exception) -> bool:
    """Whether the request was sent and no reply came."""
    # A silence in the middle of the body arrives as a ConnectionError around urllib3's own class.
    return isinstance(error, requests.exceptions.ReadTimeout) or any(
        isinstance(arg, ReadTimeoutError) for arg in error.args
    )


def words_for(error: Exception, base_url: str, *, billable: bool) -> tuple[str, str]:
    """What went wrong and what to do; `{settings}` and `{name}` stand for the form field and the service.

    `billable`: the request may have been carried out.
    """
    host = host_of(base_url)
    match error:
        case _ if isinstance(error, _BAD_ADDRESS):
            shown = host if "@" in base_url else base_url
            return f"the address {shown!r} is not a URL", "Write it as http://host:port in {settings}"
        case requests.exceptions.SSLError() if untrusted := _untrusted(error):
            return (
                f"the certificate of {host} is not trusted ({untrusted})",
                "Check the address in {settings}; for a certificate of your own, name a file with it in the environment "
                "variable REQUESTS_CA_BUNDLE of the plugin",
            )
        case requests.exceptions.SSLError():
            return (
                f"no secure connection to {host} could be made",
                "Check the address in {settings}: it may have to begin with http://",
            )
        case requests.exceptions.ProxyError():
            return f"the proxy on the way to {host} did not forward the request", "Check the proxy of the plugin's host"
        case requests.exceptions.ConnectTimeout():
            return f"{host} did not accept a connection in time", "Check the address in {settings} and the firewall"
        case _ if unanswered(error):
            return silence(host, billable=billable)
        case _ if refused(error):
            return (
                f"{host} could not be reached",
                "Check the address in {settings} and that {name} is running there; from inside a container, localhost "
                "is the container itself: use the machine's LAN address or host.docker.internal",
            )
        case _ if billable:
            return (
                f"the connection to {host} was lost; the request may still have been processed",
                "Check {name} before trying again",
            )
        case _:
            return f"the connection to {host} was lost", "Try again; if it persists, check {name}'s log"


def _untrusted(error: Exception) -> str:
    """Why the server's certificate was refused, in OpenSSL's words; empty for another failure of TLS."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    causes = getattr(reason, "args", ())
    return next((cause.verify_message for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), "")


def silence(host: str, *, billable: bool) -> tuple[str, str]:
    if billable:
        return (
            f"{host} accepted the request and did not reply in time; it may still have been processed",
            "Check {name} before trying again",
        )
    return f"{host} did not reply in time", "Check that {name} is running at the address in {settings}"


def host_of(base_url: str) -> str:
    """Host and port without a login; of an address that is not a URL, what is left of it."""
    after_login = base_url.rpartition("@")[2]
    try:
        return urlsplit(base_url).netloc.rpartition("@")[2] or after_login
    except ValueError:
        return after_login
