"""The components of the page. All that is more than wiring stands in the other modules."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from sandbox.errors import HostError, UsageError
from sandbox.forms import CredentialField
from sandbox.playground.cards import cards
from sandbox.playground.form import Field, fields
from sandbox.playground.history import Entry
from sandbox.playground.session import PageError, Playground, inputs
from sandbox.playground.texts import Language, text

type Preset = dict[str, Any]


def build(playground: Playground) -> Any:
    """The page in both languages: `/` in English, `/zh` in Chinese."""
    with gr.Blocks(title=text("title", "en"), analytics_enabled=False, fill_width=True) as page:
        gr.Navbar(main_page_name="English")
        _Page(playground, "en").build()
    with page.route("中文", "/zh"):
        gr.Navbar(main_page_name="English")
        _Page(playground, "zh").build()
    return page


class _Page:
    """The page in one language."""

    def __init__(self, playground: Playground, language: Language) -> None:
        self.playground = playground
        self.language = language
        self.say = partial(text, language=language)

    def build(self) -> None:
        gr.Markdown(f"# {self.say('title')}")
        with gr.Tab(self.say("create"), id="create"):
            self._create()
        with gr.Tab(self.say("history"), id="history") as tab:
            self._history(tab)
        with gr.Tab(self.say("credentials"), id="credentials"):
            self._credentials()

    def _create(self) -> None:
        self.preset = gr.State({"version": 0, "values": {}, "versions": {}})
        with gr.Row():
            with gr.Column(scale=2, min_width=340):
                self.models = gr.Dropdown(
                    self.playground.models,
                    value=[self.playground.first_model],
                    multiselect=True,
                    label=self.say("models"),
                    info=self.say("models_help"),
                    elem_id="models",
                )
                self.prompt = gr.Textbox(
                    label=self.say("prompt"), info=self.say("prompt_help"), lines=3, elem_id="prompt"
                )
                self.button = gr.Button(self.say("run"), variant="primary", elem_id="run")
                with gr.Accordion(self.say("images"), open=False):
                    self.images = gr.File(
                        file_count="multiple", file_types=["image"], show_label=False, elem_id="images"
                    )
                with gr.Accordion(self.say("mask"), open=False, elem_id="mask"):
                    gr.Markdown(self.say("mask_help"))
                    self.editor = gr.ImageEditor(
                        type="pil",
                        sources=("upload", "clipboard"),
                        transforms=(),
                        brush=gr.Brush(colors=["#ffffff"], color_mode="fixed", default_size=40),
                        show_label=False,
                        elem_id="editor",
                    )
                gr.render(inputs=[self.models, self.preset])(self._parameters)
            with gr.Column(scale=3, min_width=420):
                self.results = gr.HTML(cards([], self.language, ()), elem_id="results")
                self.stop = gr.Button(self.say("stop"), size="sm")

    def _parameters(self, models: Sequence[str], preset: Preset) -> None:
        try:
            schemas = self.playground.schemas(models or [])
        except (HostError, UsageError) as error:
            gr.Markdown(f"**{escape(str(error))}**")
            return
        shown = fields(schemas, chinese=self.language == "zh")
        with gr.Accordion(self.say("parameters"), open=True, elem_id="parameters"):
            components = [_component(field, preset, self.say("unset")) for field in shown]
        names = [field.name for field in shown]
        start = self.button.click(
            partial(self._generate, names),
            [self.models, self.prompt, self.images, self.editor, *components],
            self.results,
            show_progress="hidden",
            key="generate",
        )
        self.stop.click(None, None, None, cancels=[start], key="stop")

    def _generate(
        self, names: Sequence[str], models: Sequence[str], prompt: str, paths: Sequence[str], editor: Any, *values: Any
    ) -> Iterator[str]:
        given = dict(zip(names, values, strict=True))
        try:
            yield from self.playground.generate(models or [], prompt, given, inputs(paths, editor), self.language)
        except (PageError, HostError, UsageError, OSError) as error:
            yield f'<p class="error" role="alert">{escape(str(error))}</p>'

    def _history(self, tab: Any) -> None:
        gr.Markdown(self.say("history_help"))
        chosen = gr.State(None)
        with gr.Row():
            with gr.Column(scale=3):
                gallery = gr.Gallery(columns=4, height="auto", show_label=False, elem_id="gallery")
                refresh = gr.Button(self.say("refresh"), size="sm")
            with gr.Column(scale=2, min_width=320):
                upload = gr.File(label=self.say("read_back"), file_types=["image"], elem_id="read_back")
                settings = gr.Code(language="json", label=self.say("settings"), interactive=False, elem_id="settings")
                file = gr.DownloadButton(self.say("download"), visible=False)
                reuse = gr.Button(self.say("reuse"), elem_id="reuse")
                seed = gr.Button(self.say("reuse_seed"), elem_id="reuse_seed")
        for event in (tab.select, refresh.click):
            event(self._gallery, None, gallery)
        gallery.select(self._chosen, None, [chosen, settings, file])
        upload.upload(self._read_back, upload, [chosen, settings, file])
        reuse.click(
            self._reuse, [chosen, self.preset, self.models, self.prompt], [self.preset, self.models, self.prompt]
        )
        seed.click(self._reuse_seed, [chosen, self.preset], self.preset)

    def _gallery(self) -> list[tuple[str, str]]:
        history = self.playground.history
        return [(str(history.folder / entry.file), _caption(entry)) for entry in history.entries()]

    def _chosen(self, event: gr.SelectData) -> tuple[Any, str, Any]:
        return self._entry(self.playground.history.entries()[event.index])

    def _read_back(self, path: str) -> tuple[Any, str, Any]:
        entry = self.playground.history.of_image(Path(path).read_bytes())
        if entry is None:
            raise gr.Error(self.say("unknown_image"), print_exception=False)
        return self._entry(entry)

    def _entry(self, entry: Entry) -> tuple[Any, str, Any]:
        document = entry.model_dump(mode="json", exclude={"sha256", "file"})
        shown = json.dumps(document, ensure_ascii=False, indent=2)
        path = str(self.playground.history.folder / entry.file)
        return document, shown, gr.DownloadButton(self.say("download"), value=path, visible=True)

    def _reuse(
        self, chosen: Mapping[str, Any] | None, preset: Preset, models: Sequence[str], prompt: str
    ) -> tuple[Preset, Sequence[str], str]:
        if chosen is None:
            return preset, models, prompt
        entry = Entry.model_validate({**chosen, "sha256": "", "file": ""})
        return {"version": time.time(), "values": entry.settings, "versions": {}}, [entry.model], entry.prompt

    def _reuse_seed(self, chosen: Mapping[str, Any] | None, preset: Preset) -> Preset:
        seed = str(chosen["seed"]) if chosen else ""
        if not seed.isdecimal():
            return preset
        versions = {**preset["versions"], "seed": time.time()}
        return {**preset, "values": {**preset["values"], "seed": int(seed)}, "versions": versions}

    def _credentials(self) -> None:
        gr.Markdown(self.say("credentials_help"))
        form = self.playground.credentials.form
        with gr.Row():
            use = gr.Button(self.say("use"), variant="primary")
            save = gr.Button(self.say("save"))
            check = gr.Button(self.say("check"))
            forget = gr.Button(self.say("forget"))
        told = gr.Textbox(show_label=False, interactive=False, lines=2, max_lines=30, elem_id="told")
        boxes = [self._credential(field) for field in form]
        use.click(self._use, boxes, [told, *boxes])
        save.click(self._save, boxes, [told, *boxes])
        check.click(self.playground.check, None, told)
        forget.click(self._forget, None, told)

    def _credential(self, field: CredentialField) -> Any:
        label = field.label.text(chinese=self.language == "zh") or field.variable
        if field.options:
            return gr.Dropdown(["", *(option.value for option in field.options)], value="", label=label)
        is_set = bool(self.playground.credentials.current.provider.get(field.variable))
        hint = field.placeholder.text(chinese=self.language == "zh") if field.placeholder else ""
        return gr.Textbox(
            label=label,
            placeholder=self.say("is_set") if is_set else hint,
            type="password" if field.secret else "text",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
        )

    def _use(self, *values: str) -> list[str]:
        return self._taken(values, self.say("kept"))

    def _save(self, *values: str) -> list[str]:
        told = self._taken(values, "")
        return told if told[0] else [self.say("saved").format(path=self.playground.credentials.save()), *told[1:]]

    def _taken(self, values: Sequence[str], success: str) -> list[str]:
        """Take the filled fields; what is told, and the fields, emptied unless something is wrong."""
        store = self.playground.credentials
        given = {field.variable: value for field, value in zip(store.form, values, strict=True) if value}
        try:
            store.use(given)
        except ValueError as error:
            return [str(error), *values]
        return [success, *("" for _ in values)]

    def _forget(self) -> str:
        self.playground.credentials.forget()
        return self.say("forgotten")


def _caption(entry: Entry) -> str:
    return " · ".join(filter(None, (entry.model, entry.seed, entry.prompt[:60])))


def _component(field: Field, preset: Preset, unset: str) -> Any:
    value = preset["values"].get(field.name, field.value)
    version = preset["versions"].get(field.name, "")
    common = {
        "label": field.label,
        "info": field.help or None,
        "key": f"{field.name}/{preset['version']}/{version}",
        "elem_id": f"parameter-{field.name}",
    }
    match field.kind:
        case "choice":
            return gr.Dropdown([(unset, ""), *field.choices], value=value or "", **common)
        case "switch":
            return gr.Checkbox(value=bool(value), **common)
        case "slider":
            return gr.Slider(field.minimum, field.maximum, value=value, step=field.step, **common)
        case "number":
            return gr.Number(value=value, precision=0 if field.step == 1 else None, placeholder=unset, **common)
        case "text":
            return gr.Textbox(value=value or "", lines=2, **common)
        case "line":
            return gr.Textbox(value=value or "", max_lines=1, **common)
