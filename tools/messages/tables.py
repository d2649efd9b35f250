"""The pages `docs/errors.md` and `docs/errors_zh_Hans.md`: every error with class, cause and cure, by areas."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

from models.messages.catalogue import Entry, Template, entries
from models.messages.chinese import translated
from tools.messages.areas import TITLES, area_of
from tools.messages.errors import ErrorRow, errors
from tools.messages.sentences import ROOT, sentences, shape

_NUMBER = re.compile(r"_\d+\}")


@dataclass(frozen=True)
class Page:
    """One language of the table. `say` gives a template in that language."""

    path: Path
    title: str
    opening: str
    head: tuple[str, str, str]
    further: str
    kinds: Mapping[str, str]
    say: Callable[[str], str]
    language: int

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from (f"# {self.title}", "", *self.opening.splitlines())
        rows, others = _by_area()
        for area, titles in TITLES.items():
            if rows[area] or others[area]:
                yield from ("", f"## {titles[self.language]}")
                yield from self._errors(rows[area])
                yield from self._others(others[area], after_errors=bool(rows[area]))

    def _errors(self, rows: list[ErrorRow]) -> Iterator[str]:
        if not rows:
            return
        yield from ("", _row(self.head), "| --- | --- | --- |")
        for row in rows:
            cause = row.cause if row.refused else self.say(row.cause)
            yield _row((_cell(cause), self.kinds[row.kind], _cell(self.say(row.cure)) if row.cure else ""))

    def _others(self, templates: list[str], *, after_errors: bool) -> Iterator[str]:
        if not templates:
            return
        yield ""
        if after_errors:
            yield from (self.further, "")
        yield from (f"- {_cell(self.say(template))}" for template in templates)


def _by_area() -> tuple[dict[str, list[ErrorRow]], dict[str, list[str]]]:
    """The errors of each area, and its sentences that stand in none of them."""
    rows: dict[str, list[ErrorRow]] = {area: [] for area in TITLES}
    others: dict[str, list[str]] = {area: [] for area in TITLES}
    for row in errors():
        rows[row.area].append(row)
    shown = " ".join(shape(part) for row in errors() for part in (row.cause, row.cure))
    told = set[str]()
    for sentence in sentences():
        if sentence.shape not in told and sentence.shape not in shown:
            told.add(sentence.shape)
            others[area_of(sentence.path)].append(sentence.template)
    return rows, others


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(template: str) -> str:
    """A template in Markdown: fields in braces, doubled braces as they are shown."""
    shown = _NUMBER.sub("}", template).replace("{{", "{").replace("}}", "}").strip()
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


@cache
def _entries() -> Mapping[str, Entry]:
    return {shape(entry.en): entry for entry in entries()}


def _in_chinese(template: str) -> str:
    """A template with the Chinese of its own entry, else read like any sentence."""
    own = _entries().get(shape(template))
    if own is None:
        return translated(template)
    names = dict(
        zip(Template.of(own).fields, (name for _, name, _, _ in Formatter().parse(template) if name), strict=True)
    )
    return "".join(
        f"{literal}{'' if name is None else f'{{{names[name]}}}'}" for literal, name, _, _ in Formatter().parse(own.zh)
    )


PAGES = (
    Page(
        path=ROOT / "docs" / "errors.md",
        title="Errors: cause and cure",
        opening="""\
[中文](errors_zh_Hans.md)

Every error that the plugin can show, by areas. A message has up to three parts: what was attempted, the service's or the
plugin's words, and the next step: `Attempted: words. Next step.` Words in braces stand for names and values; `{attempt}` is
the request to a service, such as “Generating with Stability AI”. A row that begins with an HTTP status, a code or words is a
refusal of the service, whose own words are shown. Below the tables stand notices and parts of sentences.

| class | Dify's error | meaning |
| --- | --- | --- |
| login | `InvokeAuthorizationError` | key, login or region is wrong, or the account may not do this |
| limit | `InvokeRateLimitError` | too many requests, quota used up, no credit |
| request | `InvokeBadRequestError` | parameter, prompt, image, setting, or a feature that the model does not have |
| service | `InvokeServerUnavailableError` | the service failed, or sent no usable image |
| connection | `InvokeConnectionError` | not reached, no reply in time, connection lost |

Messages are Chinese with `language zh` in [`limits`](settings.md). This page is made from the code:
`uv run python -m tools.messages`.""",
        head=("error", "class", "next step"),
        further="Notices and parts of sentences:",
        kinds={
            "authorization": "login",
            "rate_limit": "limit",
            "bad_request": "request",
            "server_unavailable": "service",
            "connection": "connection",
        },
        say=str,
        language=0,
    ),
    Page(
        path=ROOT / "docs" / "errors_zh_Hans.md",
        title="错误信息：原因与解决方法",
        opening="""\
[English](errors.md)

本页按功能列出插件可能显示的全部错误。一条信息最多有三部分：尝试的操作、服务或插件的说明、下一步：`操作：说明。下一步。`
花括号中的词代表名称和值；`{attempt}` 是发给服务的请求，例如“通过 Stability AI 生成图片”。以 HTTP 状态、错误代码或原文开头的行
是服务的拒绝，会显示服务的原话。各表之后是提示信息和句子的组成部分。

| 类别 | Dify 的错误 | 含义 |
| --- | --- | --- |
| 登录 | `InvokeAuthorizationError` | 密钥、登录信息或地域有误，或账户无权执行 |
| 限额 | `InvokeRateLimitError` | 请求过多、配额用完、没有余额 |
| 请求 | `InvokeBadRequestError` | 参数、提示词、图片、设置有误，或模型没有该功能 |
| 服务 | `InvokeServerUnavailableError` | 服务失败，或没有返回可用的图片 |
| 连接 | `InvokeConnectionError` | 无法连接、没有及时响应、连接中断 |

在[`limits`](settings_zh_Hans.md)中写 `language zh`，信息就以中文显示。本页由代码生成：`uv run python -m tools.messages`。""",
        head=("错误", "类别", "下一步"),
        further="提示信息和句子的组成部分：",
        kinds={
            "authorization": "登录",
            "rate_limit": "限额",
            "bad_request": "请求",
            "server_unavailable": "服务",
            "connection": "连接",
        },
        say=_in_chinese,
        language=1,
    ),
)


def stale() -> list[Path]:
    """The pages that are not as the code is."""
    return [page.path for page in PAGES if not page.path.exists() or page.path.read_text("utf-8") != page.text()]
