"""Connections to public addresses only, for links that a prompt brings.

A name may resolve to another address between the check and the connection. The address is therefore checked once more
on the open connection, before a byte is sent.
"""

import ipaddress
import socket
from functools import cache
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError


def is_public_ip(address: str) -> bool:
    """Whether an IP address is one of the Internet; an IPv6 scope (`%eth0`) counts as none."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_global and not (mapped or found).is_multicast


class _PublicConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(self, super()._new_conn())


class _PublicTLSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(self, super()._new_conn())


def _checked(connection: HTTPConnection, opened: socket.socket) -> socket.socket:
    address = str(opened.getpeername()[0])
    if not is_public_ip(address):
        opened.close()
        raise NewConnectionError(connection, f"{address} is not a public address")
    return opened


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTLSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTLSConnection


class PublicAdapter(HTTPAdapter):
    """Where a proxy is configured, the proxy connects, and what it may reach is its own rule."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTLSPool}


@cache
def public_adapter() -> PublicAdapter:
    """The one of the process."""
    return PublicAdapter(pool_connections=16, pool_maxsize=32)
