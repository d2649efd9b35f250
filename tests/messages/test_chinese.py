"""Messages in Chinese: every entry of the catalogue, sentences inside sentences, and what stays as it is."""

import re
import subprocess
import sys

import pytest
from dify_plugin.errors.model import InvokeBadRequestError, InvokeServerUnavailableError

from models.backends.errors import BadRequest, host_errors
from models.messages import about, say
from models.messages.catalogue import CatalogueEntry, Template, constants, entries, templates
from models.messages.chinese import _MOST_PARTS, _Reader, composed, translated
from models.settings import Settings
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY

CHINESE = re.compile(r"[\u3400-\u9fff]")
ENGLISH = re.compile(r"\b[a-z]{2,}(?: [a-z]{2,})+\b")
QUOTED = re.compile(r"`[^`]*`|“[^”]*”|（[^）]*）|\{[^}]*\}|\([^)]*\)")
SAMPLES = {r"\d+": "7", r"\S+": "r-7", "(node|a node) .*": "node 7 (KSampler)", '( ".*")?': "", r"[\w:.-]*": ""}
"""A value for each form that a field may be bound to."""


def filled(template: Template, value: str) -> str:
    """The template with a value in each field: a word that it knows, one of its form, or `value`."""
    entry = template.entry
    values = {name: next(iter(entry.words.get(name, {value: ""}))) for name in template.fields}
    values |= {name: SAMPLES.get(form, "7") for name, form in entry.only.items()}
    return entry.en.format(**values)


def test_every_template_is_read_as_itself() -> None:
    wrong = []
    for template in templates():
        text = filled(template, "Zed7")
        chinese = translated(text)
        missing = [part for part, _ in template.zh if part.strip() and part.strip() not in chinese]
        if (chinese == text and template.entry.zh != template.entry.en) or (
            missing and not read_by_another(template, text, chinese)
        ):
            wrong.append((text, chinese))
    assert wrong == []


def read_by_another(template: Template, text: str, chinese: str) -> bool:
    """Whether a more exact entry reads the text, with no English left: the parts of a short template say little."""
    return template.letters < len(text) and CHINESE.search(chinese) is not None and ENGLISH.search(chinese) is None


def test_every_constant_is_read_as_itself() -> None:
    assert [text for text, chinese in constants().items() if translated(text) != chinese] == []


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.en[:40])
def test_the_chinese_of_an_entry_is_chinese_and_has_its_fields(entry: CatalogueEntry) -> None:
    template = Template.of(entry)
    shown = {name for _, name in template.zh if name}
    assert shown <= set(template.fields)
    assert {*entry.words, *entry.only} <= set(template.fields)
    assert ENGLISH.search(QUOTED.sub("", entry.zh)) is None
    assert not re.search(r"[\u3400-\u9fff] ?[,;!?]|[\u3400-\u9fff]\. ", entry.zh), "full-width punctuation"


SENTENCES = {
    "Fill “Stability AI API key” (stability_api_key) in the provider's settings": "请填写供应商设置中的“Stability AI API 密钥”（stability_api_key）",
    "Fill `headers` in the model's settings": "请填写模型设置中的 `headers`",
    "“foo 3” in “Limits” (limits) in the provider's settings is not a limit": "供应商设置中的“限制”（limits）中的“foo 3”不是有效的限制",
    "“Limits” (limits)": "“限制”（limits）",
    "The image was scaled from 100x100 to 20x20, as the service takes no other size": "图片已从 100x100 缩放为 20x20，因为服务只接受这种尺寸",
    "photo one.png is an animation; its first frame is used": "photo one.png 是动画；只使用第一帧",
    "Image 2 was left out: the file is empty.": "图片 2 已略去：文件为空。",
    "The size 1000x1000 became 1024x1024, the nearest that sd3 makes.": "尺寸 1000x1000 改成了 1024x1024，这是 sd3 支持的最接近的值。",
    "queued 2nd": "排队中，第 2 位",
    "queued 11th": "排队中，第 11 位",
    "queued 2nd (nothing known)": "排队中，第 2 位（nothing known）",
    "unknown words (queued 2nd)": "unknown words（排队中，第 2 位）",
    "image 2 of 3, step 4/20": "第 2 张图片（共 3 张），第 4/20 步",
    "40 %, about 12 s left": "40 %，剩余约 12 秒",
    "There is no sampler 'Oiler' on the server": "服务器上没有采样器 'Oiler'",
    'node 3 (KSampler "My sampler") has none': '节点 3（KSampler "My sampler"）没有该项',
    "Give one of anime, photographic … (17 in all)": "请填写以下值之一：anime, photographic …（共 17 个）",
    "`--foo 3`, `--bar` stays in the prompt: there is no such directive.": "`--foo 3`, `--bar` 保留在提示词里：没有这个指令。",
    "Generating with Stability AI failed: the service's content filter withheld the image. Change the prompt.": (
        "通过 Stability AI 生成图片失败：服务的内容过滤扣留了图片。请修改提示词。"
    ),
    "Generating with the OpenAI images API failed: HTTP 400, no such luck. Please, try. Change the prompt.": (
        "通过 OpenAI 图片接口生成图片失败：HTTP 400，no such luck. Please, try. 请修改提示词。"
    ),
    "a:1: a could not be reached; b:2: b did not reply in time": "a:1：无法连接 a；b:2：b 没有及时响应",
    "Missing in the structured output: `cost`, which m cannot tell; `variants`, which needs a storage in the settings and the "
    "parameter `variants`.": "结构化输出中缺少：`cost`，m 无法提供；`variants`，需要在设置中配置存储和参数 `variants`。",
    "It renews at 2026-01-01 00:00 UTC, in 5 min; the owner can change “Limits” (limits) in the provider's settings": (
        "将于 2026-01-01 00:00 UTC 恢复（5 分钟后）；管理员可以修改供应商设置中的“限制”（limits）"
    ),
    "Taken from the cache, made 5 minutes ago; 0.04 USD saved.": "取自缓存，生成于 5 分钟前；节省 0.04 USD。",
}


@pytest.mark.parametrize("english", SENTENCES)
def test_sentences_inside_sentences_are_read_too(english: str) -> None:
    assert translated(english) == SENTENCES[english]


@pytest.mark.parametrize(
    "text",
    [
        *("", "content was blocked by us", "You have no credit and it is empty", "Please, add money. Thanks; bye."),
        *("一只狐狸", "a fox, a hare and a hedgehog", "{model} {x", "x" * 5_000, "In queue: 1/2"),
    ],
)
def test_what_is_not_in_the_catalogue_stays_as_it_is(text: str) -> None:
    assert translated(text) == text


def test_a_users_text_in_a_sentence_stays_as_it_is() -> None:
    said = translated("The prompt contains “the image is empty”, which is not allowed here")
    assert said == "提示词含有“the image is empty”，此处不允许使用"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("Change the prompt and There is no prompt", "请修改提示词和没有提示词"),
        ("Change the prompt or There is no prompt", "请修改提示词或没有提示词"),
        ("Change the prompt and foo", "Change the prompt and foo"),
        ("Change the prompt or foo", "Change the prompt or foo"),
        ("Change the prompt, There is no prompt", "请修改提示词、没有提示词"),
        ("Change the prompt, foo", "请修改提示词，foo"),
        ("foo, Change the prompt", "foo，请修改提示词"),
        ("Change the prompt; foo", "请修改提示词；foo"),
        ("foo: Change the prompt", "foo：请修改提示词"),
        ("foo: bar", "foo: bar"),
        ("There is no prompt. Change the prompt", "没有提示词。请修改提示词"),
        ("foo. Change the prompt", "foo. 请修改提示词"),
        ("foo. bar", "foo. bar"),
        ("Change the prompt.", "请修改提示词。"),
        ("foo.", "foo."),
        ("Change the prompt (There is no prompt)", "请修改提示词（没有提示词）"),
        ("Change the prompt (foo)", "请修改提示词（foo）"),
        ("foo (Change the prompt)", "foo（请修改提示词）"),
        ("foo (bar)", "foo (bar)"),
        ("Change the prompt (There is no prompt", "Change the prompt (There is no prompt"),
        ("foo (a: Change the prompt", "foo (a: Change the prompt"),
        ("a b c Change the prompt", "a b c 请修改提示词"),
        ("a b c d Change the prompt", "a b c d Change the prompt"),
        (
            "my photo of a fox.png is an animation; its first frame is used",
            "my photo of a fox.png 是动画；只使用第一帧",
        ),
    ],
)
def test_two_parts_are_joined_where_what_can_be_read_says_enough(english: str, chinese: str) -> None:
    assert translated(english) == chinese


@pytest.mark.parametrize(("length", "read"), [(2_000, True), (2_001, False)])
def test_a_long_text_is_no_sentence_of_ours(length: int, read: bool) -> None:
    around = len("The prompt contains “”, which is not allowed here")
    text = f"The prompt contains “{'x' * (length - around)}”, which is not allowed here"
    assert (translated(text) != text) is read


def test_the_parts_of_an_error_are_joined_as_chinese() -> None:
    assert (
        composed("m edits images, and no image was sent", "", "Use fewer")
        == "m 用于编辑图片，但没有发送图片。请减少图片数量。"
    )
    assert (
        composed("Generating with Ark failed", "no.", "Change the prompt")
        == "通过火山方舟生成图片失败：no. 请修改提示词。"
    )
    assert composed("There is no prompt", "", "") == "没有提示词。"
    assert composed("There is no prompt", "", "Change the prompt.") == "没有提示词。请修改提示词。"
    assert composed("a", "b", "c") == "a：b。c。"
    assert composed("a…", "", "") == "a…"


@pytest.mark.parametrize(
    "text",
    [
        "a, b: c; " * 70,
        "node 1 (a), " * 60,
        "The image was scaled " * 30,
        "x and y, the job " * 40,
        "is not a limit " * 40,
    ],
)
def test_a_text_with_any_number_of_commas_is_read_in_bounded_steps(text: str) -> None:
    reader = _Reader(text)
    reader.read(text)
    assert len(reader.known) <= _MOST_PARTS


# --- the door ---


CHOSEN = {"limits": "language zh", "stability_api_key": MARKER_KEY}


def test_an_error_leaves_in_chinese_and_without_secrets() -> None:
    with pytest.raises(InvokeBadRequestError) as raised, host_errors(CHOSEN):
        raise BadRequest("There is no prompt", f"got {MARKER_KEY}", "Change the prompt")
    assert str(raised.value) == "没有提示词：got [hidden]。请修改提示词。"


def test_an_error_is_english_by_default() -> None:
    with pytest.raises(InvokeBadRequestError, match=r"^There is no prompt\. Change the prompt\.$"), host_errors({}):
        raise BadRequest("There is no prompt", next_step="Change the prompt")


def test_an_unforeseen_failure_is_told_in_chinese() -> None:
    with pytest.raises(InvokeServerUnavailableError, match=r"^插件自身出错（KeyError）。请重试"), host_errors(CHOSEN):
        raise KeyError("x")


def test_a_sentence_follows_the_language() -> None:
    assert say("There is no prompt", Settings(CHOSEN, {})) == "没有提示词"
    assert say("There is no prompt", Settings({}, {})) == "There is no prompt"
    assert about("the service", "There is no prompt", Settings({}, {})) == "The service: There is no prompt"
    assert about("the service", "没有提示词", Settings(CHOSEN, {})) == "The service：没有提示词"
    assert say("There is no prompt", Settings({}, {"IMAGE_GENERATION_LIMITS": "language zh"})) == "没有提示词"


def test_without_chinese_the_catalogue_is_not_imported() -> None:
    code = """
import dify_plugin, sys
from models.backends.errors import BadRequest, host_errors
for form in ({}, {"limits": "language zh"}):
    try:
        with host_errors(form):
            raise BadRequest("There is no prompt")
    except Exception as error:
        print(error, "models.messages.chinese" in sys.modules)
"""
    ran = subprocess.run(  # noqa: S603 -- our own code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.splitlines() == ["There is no prompt. False", "没有提示词。 True"]
