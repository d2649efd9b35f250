"""Results as HTML: jobs side by side with progress, image, receipt, notices and errors. Everything is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from sandbox.playground.exchange import blackened, shown
from sandbox.playground.jobs import Job, Receipt
from sandbox.playground.texts import Language, text

STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 16px; }
.card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px; background: var(--background-fill-primary); overflow-wrap: anywhere; }
.card h3 { margin: 0 0 2px; font-size: 15px; }
.card .prompt { color: var(--body-text-color-subdued); font-size: 13px; margin: 0 0 8px; }
.card img { width: 100%; border-radius: 6px; display: block; }
.card dl { display: grid; grid-template-columns: auto 1fr; gap: 1px 10px; margin: 8px 0; font-size: 13px; }
.card dt { color: var(--body-text-color-subdued); }
.card dd { margin: 0; }
.card .notice { font-size: 13px; border-left: 3px solid #d99a2b; padding-left: 8px; margin: 4px 0; }
.card .error { font-size: 14px; border-left: 3px solid #c8372d; padding-left: 8px; white-space: pre-wrap; }
.card .bar { height: 5px; border-radius: 3px; background: linear-gradient(90deg, #7c5cd6 30%, transparent 30%); background-size: 250% 100%; animation: slide 1.6s linear infinite; }
.card pre { max-height: 320px; overflow: auto; font-size: 11px; white-space: pre-wrap; }
@keyframes slide { from { background-position: 100% 0; } to { background-position: 0 0; } }
"""


def cards(jobs: Sequence[Job], language: Language, secrets: Iterable[str]) -> str:
    hidden = list(secrets)
    if not jobs:
        return f"<p>{escape(text('nothing_yet', language))}</p>"
    return f'<div class="cards" role="list" aria-live="polite">{"".join(_card(job, language, hidden) for job in jobs)}</div>'


def _card(job: Job, language: Language, secrets: Sequence[str]) -> str:
    inside = _progress(job, language) if job.open else _ended(job, language, secrets)
    head = f'<h3>{escape(job.schema.model)}</h3><p class="prompt">{escape(job.prompt)}</p>'
    return f'<div class="card" role="listitem" data-state="{job.state}">{head}{inside}</div>'


def _progress(job: Job, language: Language) -> str:
    checks = f", {job.checks} {text('checks', language)}" if job.checks else ""
    bar = '<div class="bar"></div>' if job.state == "running" else ""
    return f"<p>{escape(text(job.state, language))} {job.seconds:.1f} s{escape(checks)}</p>{bar}"


def _ended(job: Job, language: Language, secrets: Sequence[str]) -> str:
    images = "".join(_image(path, receipt, language) for path, receipt in zip(job.paths, job.receipts, strict=False))
    notices = "".join(f'<p class="notice">{escape(blackened(notice, secrets))}</p>' for notice in job.notices)
    error = f'<p class="error" role="alert">{escape(blackened(job.error, secrets))}</p>' if job.error else ""
    spoken = f"<p>{escape(blackened(job.text, secrets))}</p>" if job.text else ""
    raw = f"<details><summary>{escape(text('raw', language))}</summary><pre>{escape(shown(job.exchange, secrets))}</pre></details>"
    return images + spoken + notices + error + raw


def _image(path: Path, receipt: Receipt, language: Language) -> str:
    address = f"/gradio_api/file={quote(str(path.resolve()))}"
    rows = "".join(
        f"<dt>{escape(text(name, language))}</dt><dd>{escape(value)}</dd>"
        for name, value in (
            ("seed", receipt.seed),
            ("size", receipt.size),
            ("price", receipt.price or text("free", language)),
            ("seconds", f"{receipt.seconds:.2f}"),
        )
        if value
    )
    link = f'<a href="{address}" download="{escape(path.name)}">{escape(text("download", language))}</a>'
    model = f"<dt>{escape(text('model', language))}</dt><dd>{escape(receipt.model)}</dd>"
    return f'<a href="{address}" target="_blank"><img src="{address}" alt="{escape(path.name)}"></a><dl>{model}{rows}</dl>{link}'
