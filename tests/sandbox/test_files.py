from pathlib import Path

import pytest
import requests

from sandbox.file_server import served
from sandbox.files import FileStore, HostHttpClient


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "out", now=lambda: 1000.0)


def _link(store: FileStore) -> str:
    stored = store.create_file_by_raw(file_binary=b"image", mimetype="image/png")
    return store.resolve_tool_file_url(tool_file_id=stored.id, extension=".png")


def test_a_link_has_the_hosts_format_and_returns_the_file(store: FileStore) -> None:
    link = _link(store)
    assert link.startswith("http://localhost/files/tools/")
    assert ".png?timestamp=1000&nonce=" in link
    reply = HostHttpClient(store).get(link)
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"image", "image/png")


def test_a_link_expires_after_five_minutes(store: FileStore) -> None:
    link = _link(store)
    store.now = lambda: 1301.0
    assert HostHttpClient(store).get(link).status_code == 403


@pytest.mark.parametrize("change", [("sign=", "sign=x"), ("timestamp=1000", "timestamp=1001")])
def test_a_changed_link_is_refused(store: FileStore, change: tuple[str, str]) -> None:
    assert HostHttpClient(store).get(_link(store).replace(*change)).status_code == 403


def test_a_link_to_an_unknown_file_is_not_found(store: FileStore) -> None:
    assert HostHttpClient(store).get("http://localhost/files/tools/nothing.png").status_code == 404


def test_an_existing_image_is_never_overwritten(store: FileStore) -> None:
    store.folder.mkdir()
    (store.folder / "image-1.png").write_bytes(b"older")
    stored = store.create_file_by_raw(file_binary=b"newer", mimetype="image/png")
    assert stored.path.name == "image-2.png"
    assert (store.folder / "image-1.png").read_bytes() == b"older"


def test_files_of_one_run_are_numbered_in_order_across_types(store: FileStore) -> None:
    for mime_type in ("image/png", "image/webp", "image/png"):
        store.create_file_by_raw(file_binary=b"image", mimetype=mime_type)
    assert [path.name for path in store.written] == ["image-1.png", "image-2.webp", "image-3.png"]


def test_a_served_store_answers_over_http_for_five_minutes(store: FileStore) -> None:
    with served(store):
        link = _link(store)
        assert requests.get(link, timeout=10).content == b"image"
        store.now = lambda: 1301.0
        assert requests.get(link, timeout=10).status_code == 403
