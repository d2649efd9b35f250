"""An S3 server (moto) in a process of its own, and the refusals that S3 servers send."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from tests.servers.scripted import Act, say

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
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:  # noqa: S603
        assert server.stdout
        try:
            found = next(filter(None, (re.search(r"http://[\d.:]+", line) for line in server.stdout)))
            yield ObjectStoreServer(found[0])
        finally:
            server.kill()


def refusal(status: int, code: str, message: str = "") -> Act:
    """A refusal as S3 servers word it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message><Resource>/b</Resource></Error>'
    return say(status, body, Content_Type="application/xml")
