"""What the owner writes into `storage_url` and `storage_public_url`, read into one address."""

import pytest

from models.backends.errors import BadRequest
from models.settings import Settings
from models.storage.address import StoreAddress


def read(url: str, public: str = "") -> StoreAddress:
    address = StoreAddress.read(Settings({"storage_url": url, "storage_public_url": public}, {}))
    assert address
    return address


def parts(address: StoreAddress) -> tuple[str, str, str, str, bool]:
    return address.bucket, address.prefix, address.endpoint, address.region, address.virtual_hosted


MINIO = "s3://KEY:SECRET@minio.lan:9000/images/dify/a?region=eu-1&tls=false"


def test_no_storage_is_none() -> None:
    assert StoreAddress.read(Settings({}, {})) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (MINIO, ("images", "dify/a", "http://minio.lan:9000", "eu-1", False)),
        ("s3://K:S@minio.lan/b", ("b", "", "https://minio.lan", "us-east-1", False)),
        ("s3://K:S@minio.lan/b?style=virtual", ("b", "", "https://b.minio.lan", "us-east-1", True)),
        (
            "s3://K:S@s3.eu-central-1.amazonaws.com/b/p/",
            ("b", "p", "https://b.s3.eu-central-1.amazonaws.com", "eu-central-1", True),
        ),
        ("s3://K:S@s3.amazonaws.com/dotted.name", ("dotted.name", "", "https://s3.amazonaws.com", "us-east-1", False)),
        (
            "s3://K:S@oss-cn-hangzhou.aliyuncs.com/b",
            ("b", "", "https://b.oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou", True),
        ),
        (
            "s3://K:S@oss-cn-hangzhou-internal.aliyuncs.com/b",
            ("b", "", "https://b.oss-cn-hangzhou-internal.aliyuncs.com", "oss-cn-hangzhou", True),
        ),
        (
            "s3://K:S@cos.ap-guangzhou.myqcloud.com/b-125",
            ("b-125", "", "https://b-125.cos.ap-guangzhou.myqcloud.com", "ap-guangzhou", True),
        ),
        (
            "s3://K:S@tos-s3-cn-beijing.volces.com/b",
            ("b", "", "https://b.tos-s3-cn-beijing.volces.com", "cn-beijing", True),
        ),
        (
            "s3://K:S@account.r2.cloudflarestorage.com/b",
            ("b", "", "https://account.r2.cloudflarestorage.com", "auto", False),
        ),
    ],
)
def test_the_many_that_speak_s3(url: str, expected: tuple[str, str, str, str, bool]) -> None:
    assert parts(read(url)) == expected


@pytest.mark.parametrize("secret", ["a/b+c=", "a%2Fb%2Bc%3D"])
def test_a_secret_counts_as_copied_and_as_quoted(secret: str) -> None:
    address = read(f"s3://AKIA:{secret}@host/bucket")
    assert (address.key, address.secret, address.bucket) == ("AKIA", "a/b+c=", "bucket")


def test_the_other_kinds() -> None:
    azure = read("az://account:a2V5Lw==@box/p")
    assert (azure.kind, azure.key, azure.secret, azure.bucket, azure.prefix) == (
        "az",
        "account",
        "a2V5Lw==",
        "box",
        "p",
    )
    google = read("gs://eyJ9@bucket/a/b")
    assert (google.kind, google.key, google.bucket, google.prefix) == ("gs", "eyJ9", "bucket", "a/b")
    assert read("gs://bucket").key == ""
    assert read("file:///srv/my%20images/").folder == "/srv/my images"


def test_options_and_the_public_base() -> None:
    address = read("s3://K:S@h/b/p?storage_link_hours=24&deliver=url", "cdn.example.com/p/")
    assert (address.link_hours, address.deliver_url) == (24.0, True)
    assert address.public("2026/a b.png") == "https://cdn.example.com/p/2026/a%20b.png"
    assert address.full_key("x.png") == "p/x.png"
    assert (read(MINIO).link_hours, read(MINIO).deliver_url, read(MINIO).public("x")) == (168.0, False, "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("minio.lan/bucket", "is not the address of a storage"),
        ("ftp://K:S@h/b", "is not the address of a storage"),
        ("s3://K:S@host", "names no host or no bucket"),
        ("s3://host/bucket", "has no login"),
        ("s3://KEY@host/bucket", "has no login"),
        ("az://box", "has no login"),
        ("file://images", "does not name a folder"),
        ("file:///", "does not name a folder"),
        ("file:///srv/../etc", "does not name a folder"),
        ("s3://K:S@h/b?tls=no", "has `tls=no`; write one of true, false"),
        ("s3://K:S@h/b?deliver=link", "write one of url, bytes"),
        ("s3://K:S@h/b?storage_link_hours=200", "at most 168"),
        ("s3://K:S@h/b?storage_link_hours=0", "hours above 0"),
        ("s3://K:S@h/b?regoin=x", "has the unknown option `regoin`"),
        ("s3://K:S@h/b?regoin=", "has the unknown option `regoin`"),
        ("file:///srv/images?deliver=url", "needs an address of the folder"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_field_named(url: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(url)
    assert words in str(refused.value)
    assert "(storage_url) in the provider's settings" in str(refused.value)


def test_a_public_address_without_a_storage_is_refused() -> None:
    with pytest.raises(BadRequest, match="no storage"):
        StoreAddress.read(Settings({"storage_public_url": "https://cdn.example.com"}, {}))


def test_no_login_is_shown() -> None:
    address = read("s3://KEYMARKER:SECRETMARKER@h/b")
    assert "MARKER" not in f"{address!r} {address.place}"


@pytest.mark.parametrize(
    ("hours", "read_hours"), [("168", 168.0), ("0.5", 0.5), ("0.001", 0.001), ("", 168.0), ("168.0", 168.0)]
)
def test_the_hours_of_a_link(hours: str, read_hours: float) -> None:
    assert read(f"s3://K:S@h/b?storage_link_hours={hours}").link_hours == read_hours


@pytest.mark.parametrize("hours", ["168.001", "0", "0.0", "-1", "1e2", "inf", "0.0001", "1000"])
def test_hours_beyond_the_bounds_are_refused(hours: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(f"s3://K:S@h/b?storage_link_hours={hours}")
    assert f"has `storage_link_hours={hours}`; write hours above 0, at most 168. Correct it, and save again." in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("file:///srv/images", "the folder /srv/images"),
        ("s3://K:S@minio.lan:9000/b/p?tls=false", "minio.lan:9000 (bucket b)"),
        ("gs://b", "Google Cloud Storage (bucket b)"),
        ("az://a:k@box", "Azure (bucket box)"),
        ("gs://b?endpoint=https://gcs.lan/", "gcs.lan (bucket b)"),
    ],
)
def test_a_store_is_named_without_its_login(url: str, place: str) -> None:
    assert read(url).place == place


def test_names_without_a_prefix_and_a_base() -> None:
    address = read("gs://b")
    assert (address.full_key("x.png"), address.public("x.png"), address.deliver_url) == ("x.png", "", False)
    assert read("s3://K:S@h/b?deliver=URL&tls=TRUE&style=Path").deliver_url
    assert read("file:///srv?deliver=url", "cdn.example").public("a.png") == "https://cdn.example/a.png"


@pytest.mark.parametrize("url", ["gs://", "gs:///", "az://a:k@"])
def test_a_store_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="names no bucket"):
        read(url)


def test_a_bucket_in_the_host_is_recognised_by_the_service() -> None:
    assert read("s3://K:S@s3.cn-north-1.amazonaws.com.cn/b").virtual_hosted
    assert read("s3://K:S@s3.dualstack.eu-west-1.amazonaws.com/b").region == "eu-west-1"
    assert not read("s3://K:S@amazonaws.com.example/b").virtual_hosted
    assert read("s3://K:S@h/b?region=").region == "us-east-1"
