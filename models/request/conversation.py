"""What a conversation asks for: the prompt and the images out of the host's messages, fetched, and the mask among them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dify_plugin.entities.model.message import (
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageRole,
    TextPromptMessageContent,
)

from models.backends.base import Backend, Capabilities
from models.backends.errors import BadRequest
from models.backends.file_links import may_be_private
from models.backends.http import MIB, TooLargeError
from models.backends.images import MAX_REDIRECTS, download
from models.entities import InputImage, from_base64

FETCH_SECONDS = 60.0
MAX_INPUT_BYTES = 32 * MIB
_MASK = re.compile(r"(?i)(?<![a-z])masks?(?![a-z])")
# No part can run over the start of the next image: a text of nothing but starts is still read in one go.
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()]*(?:\([^()]*\)[^()]*)*\)")
_THOUGHTS = re.compile(r"(?is)\A\s*<(think|thinking)>.*?</\1>\s*")
_FENCE = re.compile(r"(?s)\s*(```|~~~)[\w-]*[ \t]*\n((?:(?!\1).)*?)\n?[ \t]*\1\s*")
_USER, _DIRECTING = PromptMessageRole.USER, (PromptMessageRole.SYSTEM, PromptMessageRole.DEVELOPER)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The current turn, the latest image that a user showed in an earlier one, and notices about what was left out.

    The images are the host's: base64 text or an address, and a file name that is only a hint. `with_links` is the prompt
    with its Markdown images, where it has any.
    """

    prompt: str
    images: tuple[ImagePromptMessageContent, ...] = ()
    earlier: ImagePromptMessageContent | None = None
    notices: tuple[str, ...] = ()
    with_links: str = ""
    hosts: tuple[str, ...] = ()
    """Those of the owner's limits, see `read_part`."""

    def text_for(self, able: Capabilities) -> str:
        """The prompt as a model reads it: with its Markdown images where the model follows them."""
        return self.with_links or self.prompt if able.links else self.prompt


def read_conversation(messages: Sequence[PromptMessage]) -> Conversation:
    """The prompt (art direction of the system text, then the user's words) and the images of the current turn.

    The current turn is every user message after the last assistant message.
    """
    current, earlier = _turns(messages)
    before = _images(earlier)
    asking = [*(message for message in messages if message.role in _DIRECTING), *current]
    prompt, with_links = _joined(asking, _bare), _joined(asking, _unwrapped)
    return Conversation(
        prompt=prompt,
        images=tuple(_images(current)),
        earlier=before[-1] if before else None,
        notices=tuple(dict.fromkeys(_left_out(current))),
        with_links=with_links if with_links != prompt else "",
    )


def _turns(messages: Sequence[PromptMessage]) -> tuple[list[PromptMessage], list[PromptMessage]]:
    """The user messages of the current turn, and those before it."""
    start = max((n for n, message in enumerate(messages, 1) if message.role is PromptMessageRole.ASSISTANT), default=0)
    current, earlier = messages[start:], messages[:start]
    return [one for one in current if one.role is _USER], [one for one in earlier if one.role is _USER]


def _joined(messages: Iterable[PromptMessage], read: Callable[[str], str]) -> str:
    texts = (read(_text(message)) for message in messages)
    return "\n".join(text for text in texts if text)


def _bare(text: str) -> str:
    """The words of a message without the images of an earlier answer."""
    return _unwrapped(_MARKDOWN_IMAGE.sub("", text))


def _unwrapped(text: str) -> str:
    """The words of a message without what a language model put around them."""
    text = _THOUGHTS.sub("", text)
    fenced = _FENCE.fullmatch(text)
    return (fenced[2] if fenced else text).strip()


def _left_out(messages: Iterable[PromptMessage]) -> Iterator[str]:
    for message in messages:
        if _THOUGHTS.search(_text(message)):
            yield "The text of a <think> block at the beginning of the prompt was left out."
        for part in message.content if isinstance(message.content, list) else ():
            if not isinstance(part, (TextPromptMessageContent, ImagePromptMessageContent)):
                name = getattr(part, "filename", "") or f"The {part.type.value}"
                yield f"{name} was not used: of a message, text and images are read."


def _text(message: PromptMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.data for part in message.content if isinstance(part, TextPromptMessageContent))
    return message.content or ""


def _images(messages: Iterable[PromptMessage]) -> list[ImagePromptMessageContent]:
    parts = [part for message in messages if isinstance(message.content, list) for part in message.content]
    return [part for part in parts if isinstance(part, ImagePromptMessageContent)]


def images_and_mask(backend: Backend, conversation: Conversation) -> tuple[tuple[InputImage, ...], InputImage | None]:
    """The images of the current turn in their order, and the mask among them.

    An editing model that got none takes the latest image of an earlier turn. Raises BadRequest for more images than
    the model takes and for one that cannot be read, ConnectionFailed for an address that does not answer.
    """
    able = backend.capabilities
    parts = list(conversation.images)
    if not parts and able.min_images and conversation.earlier:
        parts = [conversation.earlier]
    if able.images == 0:
        backend.check_image_count(len(parts))
        return (), None
    images = [read_part(part, backend, conversation.hosts) for part in parts]
    if able.links:  # whatever its file is called, it is one of the images to show
        return tuple(images), None
    # A file that calls itself a mask stays one where the model takes none: it is refused by name, not painted from.
    second_is_mask = able.mask and able.second_image == "mask"
    return split_mask(images, second_is_mask=second_is_mask, alpha_is_mask=second_is_mask or able.alpha_is_mask)


def split_mask(
    images: Sequence[InputImage], *, second_is_mask: bool, alpha_is_mask: bool
) -> tuple[tuple[InputImage, ...], InputImage | None]:
    """The images, and the mask among them: the one whose file name has the word and that looks like one, else the last
    of two, else the alpha channel of the only one."""
    if len(images) > 1:
        mask = _named_mask(images) or (images[-1] if second_is_mask and len(images) == 2 else None)  # noqa: PLR2004
        return tuple(image for image in images if image is not mask), mask
    if not images or not alpha_is_mask:
        return tuple(images), None
    from models.images.inputs import alpha_mask  # noqa: PLC0415 -- most requests have no images and need no Pillow

    return tuple(images), alpha_mask(images[0])


def _named_mask(images: Iterable[InputImage]) -> InputImage | None:
    if not (named := [image for image in images if _MASK.search(image.filename)]):
        return None
    from models.images.inputs import looks_like_mask  # noqa: PLC0415 -- see `split_mask`

    return next(filter(looks_like_mask, named), None)


def read_part(part: ImagePromptMessageContent, backend: Backend, hosts: Sequence[str] = ()) -> InputImage:
    """The bytes of an image, sent as base64 or behind an address.

    The address may be private, as the host's own links are. Where the owner named `hosts`, only those of the host's own
    form and of the named hosts may be, and only public addresses may redirect.
    """
    from models.images.inputs import read_input  # noqa: PLC0415 -- see `split_mask`

    name = part.filename or "The input image"
    encoded = part.base64_data or (part.url if part.url.startswith("data:") else "")
    if encoded:
        return read_input(_decoded(encoded, name), part.filename)
    if not part.url:
        raise BadRequest(f"{name} came without content", next_step="Choose the file again")
    if part.url.startswith("/"):
        raise BadRequest(
            f"{name} came as a link without an address, {part.url[:100]}",
            next_step="Set FILES_URL in Dify's environment, or MULTIMODAL_SEND_FORMAT=base64",
        )
    return read_input(_fetched(part, backend, hosts), part.filename)


def _fetched(part: ImagePromptMessageContent, backend: Backend, hosts: Sequence[str]) -> bytes:
    private = may_be_private(part.url, hosts)
    try:
        return download(
            part.url,
            attempt=f"Fetching {part.filename or 'the input image'}",
            clock=backend.clock,
            deadline=backend.within(FETCH_SECONDS),
            max_bytes=MAX_INPUT_BYTES,
            allow_private=private or not hosts,
            redirects=0 if private and hosts else MAX_REDIRECTS,
        ).body
    except TooLargeError:
        raise BadRequest(
            f"{part.filename or 'The input image'} is larger than {MAX_INPUT_BYTES // MIB} MiB",
            next_step="Send a smaller file",
        ) from None


def _decoded(text: str, name: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError:
        raise BadRequest(f"{name} is not valid base64", next_step="Choose the file again") from None
