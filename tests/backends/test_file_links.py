"""Which addresses may lead into the owner's own network."""

import pytest

from models.backends.file_links import is_dify_link, is_named, may_be_private

ID = "0b6f3c1e-7d55-4f0a-9c53-1f2e3d4c5b6a"
SIGNED = "timestamp=1&nonce=2&sign=3"


@pytest.mark.parametrize(
    ("address", "signed"),
    [
        (f"http://api:5001/files/tools/{ID}.png?{SIGNED}", True),
        (f"http://api:5001/files/tools/{ID}?{SIGNED}", True),
        (f"https://dify.example/sub/path/files/{ID}/file-preview?{SIGNED}&more=1", True),
        (f"/files/{ID}/image-preview?{SIGNED}", True),
        (f"http://api/files/{ID}/other?{SIGNED}", False),
        (f"http://api/files/tools/{ID}.png/more?{SIGNED}", False),
        (f"http://api/files/tools/short.png?{SIGNED}", False),
        (f"http://api/files/tools/{ID}.png?timestamp=1&nonce=2", False),
        (f"http://api/files/tools/{ID}.png", False),
        (f"http://api/?{SIGNED}", False),
        ("http://[", False),
    ],
)
def test_a_link_of_dify_has_its_path_and_its_signature(address: str, signed: bool) -> None:
    assert is_dify_link(address) is signed
    assert may_be_private(address, ()) is signed


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("http://nas.lan/a.png", True),
        ("http://NAS.lan:8080/a.png", True),
        ("http://user:pw@nas.lan/a.png", True),
        ("http://box:9000/a.png", True),
        ("http://box/a.png", False),
        ("http://box:9001/a.png", False),
        ("http://other/nas.lan", False),
        ("nas.lan", False),
        ("http://[", False),
    ],
)
def test_a_host_is_named_with_or_without_its_port(address: str, named: bool) -> None:
    hosts = ("nas.lan", "box:9000")
    assert is_named(address, hosts) is named
    assert may_be_private(address, hosts) is named
    assert not is_named(address, ())
