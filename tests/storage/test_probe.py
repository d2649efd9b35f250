"""A storage is tried when a form is saved, and the field to mend is named."""

from pathlib import Path

import pytest

from models.backends.errors import BadRequest
from models.settings import Settings
from models.storage import probe
from models.storage.probe import check_storage
from tests.fakes import FakeClock
from tests.servers.object_store import KEY, SECRET, ObjectStoreServer, refusal
from tests.servers.scripted import Act, Script, free_port, say, scripted_server


def check(url: str, public: str = "") -> None:
    check_storage(Settings({"storage_url": url, "storage_public_url": public}, {}), FakeClock())


def refused(url: str, public: str = "") -> str:
    with pytest.raises(BadRequest) as error:
        check(url, public)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_a_store_that_works_is_left_as_it_was(s3: ObjectStoreServer, tmp_path: Path) -> None:
    bucket = s3.bucket(public=True)
    check(s3.storage_url(bucket))
    check(s3.storage_url(bucket), f"{s3.url}/{bucket}/kept/here")
    assert s3.names(bucket) == []
    check(f"file://{tmp_path}/images")
    assert list((tmp_path / "images").iterdir()) == []
    check("")


def test_a_bucket_that_does_not_exist_is_named(s3: ObjectStoreServer) -> None:
    message = refused(s3.storage_url("nobodys"))
    assert "writing a file failed: there is no such bucket (NoSuchBucket)" in message
    assert "“Storage URL” (storage_url) in the provider's settings" in message


def test_each_step_is_named() -> None:
    with scripted_server() as server:
        url = f"s3://{KEY}:{SECRET}@{server.url.removeprefix('http://')}/b?tls=false"
        stored = say(200, ETag='"1"')
        assert "writing a file failed: the store is full" in refused_after(server, url, refusal(507, "StorageFull"))
        assert "reading a file failed: the store denies" in refused_after(
            server, url, stored, refusal(403, "AccessDenied")
        )
        assert "gave back another file" in refused_after(server, url, stored, dated(b"?"), dated(b"?"), say(204, b""))


def test_a_wrong_public_address_is_refused_and_one_out_of_reach_is_not(s3: ObjectStoreServer) -> None:
    bucket = s3.bucket()
    message = refused(s3.storage_url(bucket), f"{s3.url}/{bucket}/elsewhere")
    assert "cannot be fetched by its address" in message
    assert "“Public address of the storage” (storage_public_url)" in message
    check(s3.storage_url(bucket), f"http://127.0.0.1:{free_port()}")


def refused_after(server: Script, url: str, *acts: Act) -> str:
    server.acts.clear()
    server.then(*acts)
    return refused(url)


def dated(body: bytes) -> Act:
    return say(200, body, Last_Modified="Fri, 27 Nov 2026 03:00:00 GMT", ETag='"1"')


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (say(200, probe._TEXT), ""),
        (say(200, b"<html>"), "it shows something else"),
        (say(204, b""), "it shows something else"),
        (say(206, probe._TEXT), "it shows something else"),
    ],
)
def test_an_address_must_give_the_file(reply: Act, said: str) -> None:
    with scripted_server() as server:
        server.then(reply)
        assert probe._fetched(f"{server.url}/a/b.txt?sig=1", FakeClock()) == said
        assert server.seen[0].path == "/a/b.txt?sig=1"
        server.then(reply)
        assert probe._fetched(f"{server.url}/a/b.txt", FakeClock()) == said
        assert server.seen[1].path == "/a/b.txt"


def test_an_answer_that_is_far_longer_than_the_file_is_not_read() -> None:
    with scripted_server() as server:
        server.then(say(200, bytes(len(probe._TEXT) * 100 + 1)), say(200, bytes(len(probe._TEXT) * 100)))
        assert probe._fetched(server.url, FakeClock()) not in {"", "it shows something else"}
        assert probe._fetched(server.url, FakeClock()) == "it shows something else"


def test_a_next_step_becomes_a_sentence() -> None:
    assert probe._sentence("check the key") == "Check the key"
