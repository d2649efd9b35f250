"""The storage through the plugin's process: saved forms are tried, kept images have lasting addresses."""

import json
from typing import Any

import pytest
import requests

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import Content, user
from tests.servers.object_store import SECRET, ObjectStoreServer

FOX = [user("a red fox")]
ASKED = {"seed": 7, "width": 256, "height": 192, "details": True}


@pytest.mark.parametrize("waiting", ["direct", "polling"])
def test_the_kept_image_is_the_delivered_one(plugin: Host, s3: ObjectStoreServer, waiting: str) -> None:
    bucket = s3.bucket()
    form = {"storage_url": s3.storage_url(bucket)}
    if waiting == "direct":
        reply: Any = plugin.invoke("preview", form, FOX, {**ASKED, "n": 2})
    else:
        reply = plugin.run_polling("preview", form, FOX, {**ASKED, "n": 2, "simulate_seconds": 1}, sleep=lambda _: None)
    told = json.loads(reply.text)
    assert told["storage_key"] in s3.names(bucket)
    addresses = [image["image_url"] for image in told["images"]]
    assert [requests.get(address, timeout=10).content for address in addresses] == [
        image.data for image in reply.images
    ]


def test_with_deliver_url_the_answer_holds_the_address(plugin: Host, s3: ObjectStoreServer) -> None:
    form = {"storage_url": s3.storage_url(s3.bucket(), more="&deliver=url")}
    chunks = plugin.invoke("preview", form, FOX, ASKED, stream=True).chunks
    contents = [content for chunk in chunks for content in chunk.delta.message.content]
    (image,) = [content for content in contents if isinstance(content, Content) and content.type == "image"]
    assert image.base64_data == ""
    reply = requests.get(image.url, timeout=10, allow_redirects=False)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, image.mime_type)


def test_saving_a_form_names_what_is_wrong_with_the_storage(plugin: Host, s3: ObjectStoreServer) -> None:
    plugin.validate_provider_credentials({"storage_url": s3.storage_url(s3.bucket())})
    with pytest.raises(PluginError, match="no such bucket") as refused:
        plugin.validate_provider_credentials({"storage_url": s3.storage_url("nobodys")})
    assert SECRET not in str(refused.value)
