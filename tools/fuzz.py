"""Coverage-guided fuzzing of everything that strangers write: prompts, settings, service replies, workflows, images.

`uv run --with atheris python -m tools.fuzz TARGET [--seconds 120]` with one of the TARGETS. Each input must be read, or refused by one
of our own errors; anything else ends the run with the input and the traceback. New inputs that reach new code are kept
in `out/fuzz/TARGET` and are where the next run begins.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
import dify_plugin  # noqa: F401 -- it patches the sockets before anything else imports them

with atheris.instrument_imports(include=["models"]):
    from models import threads

    threads.ThreadShare.run = lambda _, work, *args, **options: work(*args, **options)  # type: ignore[method-assign, assignment, unused-ignore]  # coverage sees one thread

    from models.backends.comfyui.client import History
    from models.backends.comfyui.events import read_event
    from models.backends.comfyui.graph.workflow import Workflow
    from models.backends.comfyui.results import read_outputs, without_workflow
    from models.backends.errors import BadRequest, ImageError
    from models.backends.images import image_bytes, parsed
    from models.backends.model_inputs import read_schema
    from models.backends.qwen_image.wire import StudioReply
    from models.backends.refusals import Fault
    from models.backends.reply import Reply, parse, said_by
    from models.backends.stability.wire import read_v1, read_v2beta
    from models.entities import ImageRequest
    from models.images.ai_label import label_of, labelled
    from models.images.inputs import read_input
    from models.images.integrity import check_whole
    from models.images.sniff import BrokenImageError, NotAnImageError, sniff
    from models.limits import Limits
    from models.marks import Marks
    from models.parameters import VOCABULARY, read_values
    from models.request.conversation import read_conversation
    from models.request.directives import split_directives
    from models.settings import Settings

from dify_plugin.entities.model.message import UserPromptMessage

from tests.fakes import image_file

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"


def prompt(data: bytes) -> None:
    """A message of a user, down to the values of its directives."""
    conversation = read_conversation([UserPromptMessage(content=data.decode(errors="replace"))])
    directed = split_directives(conversation.prompt, VOCABULARY)
    assert len(directed.prompt) <= len(conversation.prompt)  # noqa: S101
    read_values(VOCABULARY, directed.values)


def settings(data: bytes) -> None:
    text = data.decode(errors="replace")
    for read in (Limits.read, Marks.read):
        with suppress(BadRequest):
            read(Settings({"limits": text, "marks": text}, {}))


def reply(data: bytes) -> None:
    """The answer of a service, in every form that is read somewhere."""
    headers = {"content-type": "image/png" if data[:1] == b"\x89" else "application/json", "retry-after": "7"}
    for status in (200, 400):
        received = Reply(status, headers, data)
        assert isinstance(said_by(received), str)  # noqa: S101
        Fault.read(received)
        for read in _READERS:
            with suppress(ImageError):
                read(received)
    read_event(data)
    body = Reply(200, headers, data).json()
    if isinstance(body, dict):
        read_schema({key: value for key, value in body.items() if isinstance(value, dict)})


def _read_images(received: Reply) -> None:
    for found in parsed(received, "Fuzzing").images:
        with suppress(ImageError):
            image_bytes(found.source, attempt="Fuzzing")


_READERS: tuple[Callable[[Reply], object], ...] = (
    _read_images,
    lambda received: read_v1(received, sent_seed=1),
    lambda received: read_v2beta(received, sent_seed=1),
    lambda received: parse(received, StudioReply, attempt="Fuzzing"),
    lambda received: [
        read_outputs(entry.outputs, ()) for entry in parse(received, History, attempt="Fuzzing").root.values()
    ],
)


def workflow(data: bytes) -> None:
    """A pasted workflow, with a prompt that looks like JSON filled in."""
    found = Workflow.load(data.decode(errors="replace"))
    found.rules()
    said = '"}], "x": {{seed}} \\ \u2028'
    filled = found.filled(ImageRequest(model="m", prompt=said, seeds=(7,), images=()))
    json.dumps(filled.graph, allow_nan=False)
    assert filled.graph.keys() <= found.graph.nodes.keys()  # noqa: S101 -- a prompt adds no node


def image(data: bytes) -> None:
    """A file of a user or a service."""
    sniff(data)
    without_workflow(data)
    label_of(data)
    check_whole(data)
    read_input(data)
    with suppress(ValueError):  # a format that takes no label
        made, _ = labelled(data, "Example", "id-1", edited=False)
        check_whole(made)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    work.__name__: work for work in (prompt, settings, reply, workflow, image)
}


def _seeds(target: str) -> list[bytes]:
    """Inputs to begin with: what the tests have recorded."""
    patterns = {
        "workflow": "comfyui/**/*.json",
        "reply": "*/**/*.json",
        "image": "images/**/*",
    }
    found = FIXTURES.glob(patterns[target]) if target in patterns else ()
    seeds = [file.read_bytes() for file in found if file.is_file() and file.stat().st_size < 200_000]  # noqa: PLR2004
    words = ["a fox --ar 16:9 --seed 42 --no “text, x”", "images 4, user 5 USD/day, hosts a b:1, input 10 MB"]
    images = [image_file(kind=kind) for kind in _KINDS] if target == "image" else []
    return [*seeds, *images, *(word.encode() for word in words)]


_KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("target", choices=TARGETS)
    options.add_argument("--seconds", type=int, default=120)
    given = options.parse_args()
    corpus = ROOT / "out" / "fuzz" / given.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(_seeds(given.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    work = TARGETS[given.target]

    def one(data: bytes) -> None:
        with suppress(ImageError, NotAnImageError, BrokenImageError):
            work(data)

    limits = [f"-max_total_time={given.seconds}", "-max_len=200000", "-timeout=20", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus.parent}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
