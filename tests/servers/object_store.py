"""An S3 server (moto) in a process of its own, and the refusals that S3 servers send."""

import itertools
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from tests.servers.scripted import Act, free_port, say

KEY, SECRET = "AKIAMARKER7F3A9C51", "wJalr/XUtnFEMI+MARKER/bPxRfiCYEXAMPLEKEY"
"""A secret as AWS makes them, with slashes and plus signs."""


@dataclass
class ObjectStoreServer:
    """The server's address, and buckets that nobody used before."""

    url: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def bucket(self, *, public: bool = False) -> str:
        """An empty bucket; of a public one everybody may read the objects."""
        name = f"bucket-{next(self._numbers)}"
        requests.put(f"{self.url}/{name}", timeout=10).raise_for_status()
        if public:
            everybody = {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{name}/*",
            }
            policy = {"Version": "2012-10-17", "Statement": [everybody]}
            requests.put(f"{self.url}/{name}?policy", json=policy, timeout=10).raise_for_status()
        return name

    def storage_url(self, bucket: str, prefix: str = "kept/here", more: str = "") -> str:
        return f"s3://{KEY}:{SECRET}@{self.url.removeprefix('http://')}/{bucket}/{prefix}?tls=false{more}"

    def names(self, bucket: str) -> list[str]:
        listing = requests.get(f"{self.url}/{bucket}?list-type=2", timeout=10).text
        return re.findall(r"<Key>(.*?)</Key>", listing)


@contextmanager
def object_store_server() -> Iterator[ObjectStoreServer]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # It writes a line for each request, and would stop at a pipe that nobody empties.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            _wait_for(port)
            yield ObjectStoreServer(f"http://127.0.0.1:{port}")
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def refusal(status: int, code: str, message: str = "") -> Act:
    """A refusal as S3 servers word it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message><Resource>/b</Resource></Error>'
    return say(status, body, Content_Type="application/xml")
