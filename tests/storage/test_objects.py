"""Objects in a real S3 server, in a folder, and in stores that are down, slow, full or refuse the key."""

import base64
import json
from pathlib import Path
from urllib.parse import unquote

import gevent.event
import pytest
import requests

from models.settings import Settings
from models.storage.failures import StoreError
from models.storage.objects import Bucket, Patience
from tests.servers.object_store import KEY, SECRET, ObjectStoreServer, refusal
from tests.servers.scripted import free_port, say, scripted_server, silence

HASTY = Patience(seconds=1.0, retries=0)


def bucket_of(url: str, public: str = "") -> Bucket:
    bucket = Bucket.of(Settings({"storage_url": url, "storage_public_url": public}, {}), HASTY)
    assert bucket
    return bucket


def failure(url: str) -> StoreError:
    with pytest.raises(StoreError) as failed:
        bucket_of(url).put("a.txt", b"1")
    assert not failed.value.__cause__
    for secret in (KEY, SECRET):
        assert secret not in f"{failed.value.said} {failed.value.next_step}"
    return failed.value


def test_an_object_of_s3_has_type_headers_and_metadata(s3: ObjectStoreServer) -> None:
    name = s3.bucket()
    bucket = bucket_of(s3.storage_url(name))
    bucket.put("a/b.png", b"PNG", {"Content-Type": "image/png", "Cache-Control": "public", "seed": "42"})
    assert s3.names(name) == ["kept/here/a/b.png"]
    assert bucket.get("a/b.png") == b"PNG"
    reply = requests.get(bucket.url("a/b.png"), timeout=10)
    assert (reply.content, reply.headers["Content-Type"]) == (b"PNG", "image/png")
    assert (reply.headers["Cache-Control"], reply.headers["x-amz-meta-seed"]) == ("public", "42")
    assert bucket.exists("a/b.png")
    bucket.delete("a/b.png")
    assert (bucket.get("a/b.png"), bucket.exists("a/b.png")) == (None, False)
    bucket.delete("a/b.png")


def test_a_signed_link_lives_for_its_hours_and_a_public_one_is_plain(s3: ObjectStoreServer) -> None:
    url = s3.storage_url(s3.bucket(), more="&storage_link_hours=2")
    assert "X-Amz-Expires=7200" in bucket_of(url).url("a.png")
    assert bucket_of(url, "https://cdn.example.com/x").url("a.png") == "https://cdn.example.com/x/a.png"


def test_a_token_of_the_machine_is_not_mixed_with_the_forms_key(
    s3: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "somebody-elses")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    link = bucket_of(s3.storage_url(s3.bucket(), prefix="token")).url("a.png")
    assert "somebody-elses" not in link
    assert link.startswith(s3.url)


def test_a_folder(tmp_path: Path) -> None:
    bucket = bucket_of(f"file://{tmp_path}/new/images")
    bucket.put("2026/a.png", b"PNG", {"Content-Type": "image/png"})
    assert (tmp_path / "new/images/2026/a.png").read_bytes() == b"PNG"
    assert (bucket.get("2026/a.png"), bucket.get("b.png"), bucket.url("2026/a.png")) == (b"PNG", None, "")
    assert bucket_of(f"file://{tmp_path}", "https://pics.lan/i").url("2026/a.png") == "https://pics.lan/i/2026/a.png"


def test_google_and_azure_get_their_own_requests() -> None:
    account = {"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": True}
    with scripted_server() as server:
        account["gcs_base_url"] = server.url
        server.then(say(200, ETag='"1"'), say(201, ETag='"1"'))
        encoded = base64.b64encode(json.dumps(account).encode()).decode()
        bucket_of(f"gs://{encoded}@box/pre").put("a.png", b"1", {"Content-Type": "image/png", "seed": "7"})
        key = base64.b64encode(b"k" * 32).decode()
        azure = bucket_of(f"az://acc:{key}@box/pre?endpoint={server.url}")
        azure.put("a.png", b"1", {"Content-Type": "image/png", "seed": "7"})
        google, microsoft = server.seen
        assert (google.method, unquote(google.path), google.headers["x-goog-meta-seed"]) == (
            "PUT",
            "/box/pre/a.png",
            "7",
        )
        assert (microsoft.method, microsoft.path, microsoft.headers["x-ms-meta-seed"]) == ("PUT", "/box/pre/a.png", "7")
        assert microsoft.headers["authorization"].startswith("SharedKey acc:")
        assert azure.url("a.png").startswith(f"{server.url}/box/pre/a.png?")


@pytest.mark.parametrize(
    ("status", "code", "said", "next_step"),
    [
        (403, "InvalidAccessKeyId", "does not know the key", "before the colon in “Storage URL” (storage_url)"),
        (403, "SignatureDoesNotMatch", "does not accept the secret", "behind the colon"),
        (403, "RequestTimeTooSkewed", "the clock of the machine", "Set the clock"),
        (403, "AccessDenied", "denies access", "write, read and delete"),
        (404, "NoSuchBucket", "no such bucket", "Create the bucket"),
        (400, "AuthorizationHeaderMalformed", "another region", "`region=`"),
        (301, "PermanentRedirect", "another region", "`region=`"),
        (403, "SecondLevelDomainForbidden", "in the host's name", "`style=virtual`"),
        (507, "XMinioStorageFull", "is full", "enlarge"),
        (403, "QuotaExceeded", "is full", "enlarge"),
        (503, "SlowDown", "busy", "Try again"),
        (418, "Teapot", "refused (Teapot)", "Check the store"),
    ],
)
def test_a_refusal_names_what_to_mend(status: int, code: str, said: str, next_step: str) -> None:
    with scripted_server() as server:
        server.then(refusal(status, code))
        failed = failure(f"s3://{KEY}:{SECRET}@{server.url.removeprefix('http://')}/{code.lower()}?tls=false")
    assert said in failed.said
    assert next_step in failed.next_step


def test_a_store_that_is_down_silent_or_speaks_no_tls() -> None:
    down = failure(f"s3://{KEY}:{SECRET}@127.0.0.1:{free_port()}/b?tls=false")
    assert "could not be reached" in down.said
    with scripted_server() as server:
        host = server.url.removeprefix("http://")
        server.then(silence)
        assert "did not reply in time" in failure(f"s3://{KEY}:{SECRET}@{host}/b?tls=false").said
        assert "no secure connection" in failure(f"s3://{KEY}:{SECRET}@{host}/b").said


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "the folder" in failure(f"file://{tmp_path}/file/below").said
    assert "folder" in failure("file:///proc/images").said


def test_keys_that_cannot_be_read() -> None:
    assert "the key cannot be read" in failure("az://acc:notbase64!!@box").said
    assert "the key cannot be read" in failure("gs://notjson@box").said


def test_no_greenlet_is_held_up_by_a_slow_store_and_calls_run_beside_each_other() -> None:
    """The store answers from a greenlet of this process, and only when four objects are on their way at once."""
    together = gevent.event.Event()
    waiting: list[int] = []

    def when_all_are_here(handler: object) -> None:
        waiting.append(1)
        if len(waiting) == 4:
            together.set()
        assert together.wait(5)
        say(200, ETag='"1"')(handler)  # type: ignore[arg-type]

    with scripted_server() as server:
        server.then(*[when_all_are_here] * 4)
        url = f"s3://{KEY}:{SECRET}@{server.url.removeprefix('http://')}/b?tls=false"
        bucket = Bucket.of(Settings({"storage_url": url}, {}), Patience(seconds=10.0, retries=0))
        assert bucket
        gevent.joinall([gevent.spawn(bucket.put, f"{n}.txt", b"1") for n in range(4)], raise_error=True)
    assert len(server.seen) == 4


def test_a_bucket_that_is_gone_is_no_missing_object() -> None:
    with scripted_server() as server:
        server.then(*[refusal(404, "NoSuchBucket")] * 2, *[refusal(404, "NoSuchKey")] * 2)
        bucket = bucket_of(f"s3://{KEY}:{SECRET}@{server.url.removeprefix('http://')}/b?tls=false")
        for asked in (bucket.get, bucket.delete):
            with pytest.raises(StoreError, match="no such bucket"):
                asked("a.txt")
        assert (bucket.get("a.txt"), bucket.delete("a.txt")) == (None, None)  # type: ignore[func-returns-value]


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])
def test_a_google_key_may_lack_its_padding(name: str) -> None:
    account = {"private_key": "", "private_key_id": "", "client_email": name, "disable_oauth": True}
    with scripted_server() as server:
        account["gcs_base_url"] = server.url
        server.then(say(200, ETag='"1"'))
        encoded = base64.b64encode(json.dumps(account).encode()).decode()
        bucket_of(f"gs://{encoded.rstrip('=')}@box").put("a.png", b"1")
    assert unquote(server.seen[0].path) == "/box/a.png"
