"""Images and their side files are kept under the contract's names; a store that fails costs no image."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from models import stages
from models.entities import POSTER, GeneratedImage, ImageResult, Kept, SideFile
from models.output.delivery import deliver_whole
from models.output.structured import OutputOptions
from models.settings import Settings
from models.stages.carried import Carried
from models.stages.storage import Storage
from models.storage import objects
from tests.asking import carried
from tests.fakes import image_file
from tests.servers.object_store import KEY, SECRET, ObjectStoreServer, refusal
from tests.servers.scripted import free_port, scripted_server, silence
from tests.video_files import mp4

PNG, JPEG, WEBP = image_file(8, 6), image_file(8, 6, kind="JPEG"), image_file(4, 3, kind="WEBP")
IDENT = "3f2a9c51d2e84b06a1b2c3d4e5f60718"
NOON = 1795780800.0  # 2026-11-27 12:00 UTC


def result(*images: GeneratedImage) -> ImageResult:
    made = images or (GeneratedImage(PNG, seed=42),)
    return ImageResult(images=made, backend="preview", model="preview", prompt="a red fox")


def before() -> Carried:
    return carried(OutputOptions(details=True), id=IDENT, time=NOON)


def kept(made: ImageResult, url: str, public: str = "") -> ImageResult:
    return Storage(Settings({"storage_url": url, "storage_public_url": public}, {}))(made, before())


def test_an_image_is_kept_under_its_name_with_its_facts(s3: ObjectStoreServer) -> None:
    bucket = s3.bucket()
    done = kept(result(), s3.storage_url(bucket))
    key = f"kept/here/2026/11/27/preview/{IDENT}.png"
    assert s3.names(bucket) == [key]
    where = done.images[0].kept
    assert where
    assert (where.key, where.by_url, done.notices) == (key, False, ())
    reply = requests.get(where.url, timeout=10)
    assert (reply.content, reply.headers["Content-Type"]) == (PNG, "image/png")
    assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    meta = {name: value for name, value in reply.headers.items() if name.startswith("x-amz-meta-")}
    prompt = hashlib.sha256(b"a red fox").hexdigest()
    assert meta == {
        "x-amz-meta-model": "preview",
        "x-amz-meta-seed": "42",
        "x-amz-meta-size": "8x6",
        "x-amz-meta-prompthash": f"sha256:{prompt}",
    }


def test_a_public_address_really_gives_the_file(s3: ObjectStoreServer) -> None:
    bucket = s3.bucket(public=True)
    public = f"{s3.url}/{bucket}/kept/here"
    where = kept(result(GeneratedImage(JPEG)), s3.storage_url(bucket), public).images[0].kept
    assert where
    assert where.url == f"{public}/2026/11/27/preview/{IDENT}.jpg"
    assert requests.get(where.url, timeout=10).content == JPEG


def test_several_images_have_distinct_names_and_side_files_theirs(s3: ObjectStoreServer) -> None:
    sides = (SideFile("thumb", WEBP), SideFile("900x383", PNG))
    bucket = s3.bucket()
    done = kept(result(GeneratedImage(PNG, side_files=sides), GeneratedImage(PNG)), s3.storage_url(bucket))
    stem = f"kept/here/2026/11/27/preview/{IDENT}"
    assert s3.names(bucket) == [f"{stem}-1.900x383.png", f"{stem}-1.png", f"{stem}-1.thumb.webp", f"{stem}-2.png"]
    first = done.images[0].kept
    assert first
    assert requests.get(first.side_urls["thumb"], timeout=10).content == WEBP
    assert requests.get(first.side_urls["900x383"], timeout=10).content == PNG


def test_a_folder_keeps_the_same_names_and_has_the_public_base(tmp_path: Path) -> None:
    where = kept(result(), f"file://{tmp_path}").images[0].kept
    name = f"2026/11/27/preview/{IDENT}.png"
    assert where == Kept(name, "")
    assert (tmp_path / name).read_bytes() == PNG
    again = kept(result(), f"file://{tmp_path}", "https://pics.example.com").images[0].kept
    assert again == Kept(name, f"https://pics.example.com/{name}")


@pytest.mark.parametrize("model", ["Qwen/Qwen-Image", "a:b c", "..", "图像"])
def test_a_model_with_odd_characters_names_one_folder(tmp_path: Path, model: str) -> None:
    done = kept(replace(result(), model=model), f"file://{tmp_path}")
    where = done.images[0].kept
    assert where
    assert re.fullmatch(rf"2026/11/27/[^/]+/{IDENT}\.png", where.key)
    assert (tmp_path / where.key).is_file()


def test_a_store_that_fails_costs_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PATIENT", objects.Patience(seconds=1.0, retries=0))
    with scripted_server() as server:
        host = server.url.removeprefix("http://")
        for act, words in (
            (refusal(403, "SignatureDoesNotMatch"), "does not accept the secret"),
            (refusal(403, "RequestTimeTooSkewed"), "the clock of the machine"),
            (refusal(507, "StorageFull"), "the store is full"),
            (silence, "did not reply in time"),
        ):
            server.then(act)
            assert_delivered(kept(result(), f"s3://{KEY}:{SECRET}@{host}/b?tls=false"), words)
    down = f"s3://{KEY}:{SECRET}@127.0.0.1:{free_port()}/b?tls=false"
    assert_delivered(kept(result(), down), "could not be reached")
    assert_delivered(kept(result(), "s3://nothing"), "names no host or no bucket")


def assert_delivered(done: ImageResult, words: str) -> None:
    assert (done.images[0].data, done.images[0].kept) == (PNG, None)
    (notice,) = done.notices
    assert words in notice
    assert "(storage_url)" in notice or "clock" in notice or "127.0.0.1" in notice
    assert SECRET not in notice
    delivered = deliver_whole(done, before().options, duration=1.0)
    assert len(delivered.contents) == 2


def test_a_side_file_that_fails_is_told_and_the_image_kept(s3: ObjectStoreServer) -> None:
    sides = (SideFile("../../thumb\x00", WEBP),)
    done = kept(result(GeneratedImage(PNG, side_files=sides)), s3.storage_url(s3.bucket()))
    where = done.images[0].kept
    assert where
    assert where.side_urls == {}
    assert "Not everything could be kept in the storage" in done.notices[0]


def test_a_cached_image_that_is_kept_gets_a_new_signature_and_no_second_file(s3: ObjectStoreServer) -> None:
    bucket = s3.bucket()
    url = s3.storage_url(bucket)
    first = kept(result(GeneratedImage(PNG, side_files=(SideFile("thumb", WEBP),))), url).images[0]
    assert first.kept
    hit = replace(first, kept=replace(first.kept, url="https://old.example.com", side_urls={"thumb": "https://old"}))
    again = kept(replace(result(hit), cached=True), url).images[0].kept
    assert again
    assert again.key == first.kept.key
    assert requests.get(again.url, timeout=10).content == PNG
    assert requests.get(again.side_urls["thumb"], timeout=10).content == WEBP
    assert len(s3.names(bucket)) == 2
    bucket_of_url = objects.Bucket.of(Settings({"storage_url": url}, {}))
    assert bucket_of_url
    bucket_of_url.delete(first.kept.key.removeprefix("kept/here/"))
    kept(replace(result(hit), cached=True), url)
    assert first.kept.key in s3.names(bucket)


def test_the_stage_is_the_last_and_only_there_when_configured() -> None:
    assert isinstance(stages.after_service(Settings({"storage_url": "file:///srv/x"}, {}))[-1], Storage)
    assert not any(isinstance(stage, Storage) for stage in stages.after_service(Settings({}, {})))


def test_a_video_is_kept_with_its_type_and_its_frame_beside_it(s3: ObjectStoreServer) -> None:
    bucket = s3.bucket()
    done = kept(result(GeneratedImage(mp4(), side_files=(SideFile(POSTER, PNG),))), s3.storage_url(bucket))
    where = done.images[0].kept
    assert where
    stem = f"kept/here/2026/11/27/preview/{IDENT}"
    assert sorted(s3.names(bucket)) == [f"{stem}.mp4", f"{stem}.poster.png"]
    replies = [requests.get(url, timeout=10) for url in (where.url, where.side_urls[POSTER])]
    assert [(reply.content, reply.headers["Content-Type"]) for reply in replies] == [
        (mp4(), "video/mp4"),
        (PNG, "image/png"),
    ]
