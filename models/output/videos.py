"""How a video reaches the host: by an address that the host can store it from, as bytes in the line, or as a link.

The host fetches an address without headers, follows no redirect, and names the file by the Content-Type that it gets
(reference: host-video). What it cannot fetch fails the whole answer.
"""

from dify_plugin.entities.model.message import VideoPromptMessageContent

from models.backends.errors import ServerUnavailable
from models.entities import GeneratedImage
from models.images.video import EXTENSIONS

_LONGEST_URL = 8_000

TO_STORE = "set up storage with `deliver=url` in the settings, at an address that Dify can reach"


def public_url(image: GeneratedImage) -> str | None:
    """The address in the owner's storage, else the service's own, if it is one that can be handed on."""
    urls = (image.kept.url if image.kept else "", image.url or "")
    return next((url for url in urls if url.startswith(("https://", "http://")) and len(url) <= _LONGEST_URL), None)


def host_url(image: GeneratedImage) -> str:
    """The address that the host gets in place of the bytes; empty where it gets the bytes.

    It is the kept file's where the owner said so; else, of a video, the service's own where it is sent as a video.
    """
    if image.kept and image.kept.by_url and public_url(image) == image.kept.url:
        return image.kept.url
    if image.is_video and image.url and len(image.url) <= _LONGEST_URL and image.sent_as == image.mime_type:
        return image.url
    return ""


def video_content(mime_type: str, url: str, base64_data: str) -> VideoPromptMessageContent:
    kind = EXTENSIONS[mime_type]
    content = {"url": url} if url else {"base64_data": base64_data}
    return VideoPromptMessageContent(format=kind, mime_type=mime_type, filename=f"video.{kind}", **content)


def link_to(video: GeneratedImage, url: str) -> str:
    return f"[video.{EXTENSIONS[video.mime_type]}]({url})\n"


def too_large(name: str, model: str, video: GeneratedImage, url: str | None) -> ServerUnavailable:
    """The error for a video that neither fits into the line nor can be linked; it says where the video is."""
    said = f"it has {len(video.data) / 1e6:.1f} MB, and one answer to Dify holds at most 5 MB"
    place = url or (video.kept.key if video.kept else "")
    step = f"Ask for a shorter or smaller video, or {TO_STORE}"
    return ServerUnavailable(
        f"{name} of {model} cannot be delivered", said, f"It is at {place}. {step}" if place else step
    )
