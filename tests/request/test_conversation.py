"""The prompt and the input images of a conversation."""

import pytest
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    PromptMessage,
    SystemPromptMessage,
    TextPromptMessageContent,
    UserPromptMessage,
    VideoPromptMessageContent,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from models.request.conversation import Conversation, read_conversation
from tests.asking import image_part


def image(name: str) -> ImagePromptMessageContent:
    return image_part(name, filename=f"{name}.png")


def text(words: str) -> TextPromptMessageContent:
    return TextPromptMessageContent(data=words)


def read(*messages: PromptMessage) -> Conversation:
    return read_conversation(messages)


def test_user_text_is_the_prompt() -> None:
    assert read(UserPromptMessage(content="a cat")) == Conversation("a cat")


def test_several_user_messages_are_joined_by_newlines() -> None:
    assert read(UserPromptMessage(content="a cat"), UserPromptMessage(content="in snow")).prompt == "a cat\nin snow"


def test_system_text_alone_is_the_prompt() -> None:
    assert read(SystemPromptMessage(content="a cat"), UserPromptMessage(content="")).prompt == "a cat"


def test_system_text_is_art_direction_before_the_user_text() -> None:
    assert (
        read(SystemPromptMessage(content="ink style"), UserPromptMessage(content="a cat")).prompt == "ink style\na cat"
    )


def test_earlier_turns_do_not_enter_the_prompt() -> None:
    conversation = read(
        UserPromptMessage(content="a dog"),
        AssistantPromptMessage(content="here ![dog](http://files/dog.png)"),
        UserPromptMessage(content="a cat"),
    )
    assert conversation.prompt == "a cat"


def test_without_new_user_text_the_system_text_is_the_prompt() -> None:
    messages = (
        SystemPromptMessage(content="style"),
        UserPromptMessage(content="a dog"),
        AssistantPromptMessage(content="ok"),
    )
    assert read(*messages).prompt == "style"


@pytest.mark.parametrize("link", ["![x](http://files/x.png?sign=1)", "![](/files/x(1).png)", '![x y](/x.png "a cat")'])
def test_markdown_images_never_enter_the_prompt(link: str) -> None:
    assert read(UserPromptMessage(content=f"a {link} cat")).prompt == "a  cat"


@pytest.mark.parametrize("start", ["![", "![](", "![](("])
def test_many_broken_markdown_images_stay_text_in_linear_time(start: str) -> None:
    """Quadratic parsing would block all requests for minutes."""
    broken = start * 250_000
    assert read(UserPromptMessage(content=broken)).prompt == broken


def test_images_of_the_current_turn_keep_their_order() -> None:
    conversation = read(
        UserPromptMessage(content=[image("old")]),
        AssistantPromptMessage(content="done"),
        UserPromptMessage(content=[image("one")]),
        UserPromptMessage(content=[text("join them"), image("two")]),
    )
    assert conversation == Conversation("join them", (image("one"), image("two")), image("old"))


def test_the_latest_earlier_image_is_kept() -> None:
    conversation = read(
        UserPromptMessage(content=[image("a"), image("b")]),
        AssistantPromptMessage(content="done"),
        UserPromptMessage(content="make it blue"),
    )
    assert conversation.images == ()
    assert conversation.earlier == image("b")


def test_an_empty_conversation_is_an_empty_prompt() -> None:
    assert read() == Conversation("")


@pytest.mark.parametrize(
    "thoughts",
    ["<think>\nThey want a kettle; no dogs.\n</think>\n", "\n<THINK>x</THINK>", "<thinking>--ar 3:2</thinking>\n\n"],
)
def test_a_leading_think_block_is_removed_with_a_notice(thoughts: str) -> None:
    conversation = read(SystemPromptMessage(content="ink"), UserPromptMessage(content=f"{thoughts}A kettle"))
    assert conversation.prompt == "ink\nA kettle"
    assert conversation.notices == ("The text of a <think> block at the beginning of the prompt was left out.",)


def test_other_think_blocks_are_kept() -> None:
    for prompt in ("a sign that says <think>twice</think>", "<think> a kettle"):
        assert read(UserPromptMessage(content=prompt)) == Conversation(prompt)


@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_a_code_fence_around_the_prompt_is_removed(fence: str) -> None:
    for opening in (fence, f"{fence}text", f"{fence}  "):
        prompt = f"{opening}\nA kettle\non a stove --ar 3:2\n{fence}"
        assert read(UserPromptMessage(content=prompt)) == Conversation("A kettle\non a stove --ar 3:2")
    two = f"{fence}\nA\n{fence}\nand\n{fence}\nB\n{fence}"
    assert read(UserPromptMessage(content=two)) == Conversation(two)


def test_unused_parts_give_a_notice() -> None:
    document = DocumentPromptMessageContent(
        format="pdf", mime_type="application/pdf", base64_data="x", filename="brief.pdf"
    )
    video = VideoPromptMessageContent(format="mp4", mime_type="video/mp4", base64_data="x")
    conversation = read(UserPromptMessage(content=[document, video, text("a cat"), image("one")]))
    assert conversation.prompt == "a cat"
    assert conversation.images == (image("one"),)
    assert conversation.notices == (
        "brief.pdf was not used: of a message, text and images are read.",
        "The video was not used: of a message, text and images are read.",
    )


@pytest.mark.parametrize("start", ["<think>", "```\n", "<think>\n```\n"])
def test_many_think_tags_and_fences_are_read_in_linear_time(start: str) -> None:
    prompt = f"{start * 100_000}x"
    assert read(UserPromptMessage(content=prompt)).prompt.endswith("x")


MARKS = st.sampled_from(["![", "](", ")", "http://x", "<think>", "</think>", "```", "~~~", "\n", "a fox", " "])


@settings(deadline=None)
@given(st.lists(MARKS | st.text(max_size=5), max_size=30).map("".join), st.text(max_size=20))
def test_any_messages_give_a_prompt_of_their_own_words(asked: str, directing: str) -> None:
    found = read(SystemPromptMessage(content=directing), UserPromptMessage(content=asked))
    assert found.prompt == found.prompt.strip()
    assert all(line.strip() in asked + "\n" + directing or not line.strip() for line in found.with_links.splitlines())
    assert found.images == ()
