"""The page: what is on it, and which action belongs to what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from grounded_labeler.playground.actions import OFF, ON, ONE_IMAGE, Actions, said
from grounded_labeler.playground.pictures import MOST_IMAGES
from grounded_labeler.playground.selection import Limits
from grounded_labeler.playground.session import Session
from grounded_labeler.playground.table import candidates_table
from grounded_labeler.server.inspector import LOWEST_SCORE

TITLE = "grounded-labeler playground"
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_STATE_SECONDS = 3600  # that a browser which is gone is remembered
_CACHE_SECONDS = 600  # that a drawn image is kept, and how often old ones are removed
_COPY = "(text) => { if (text && navigator.clipboard) navigator.clipboard.writeText(text) }"

Component = Any  # Gradio's, which has no usable types


@dataclass(frozen=True)
class _Query:
    """The left side: an image, and what to look for in it."""

    upload: Component
    samples: Component
    address: Component
    task: Component
    prompt: Component
    labels: Component
    detector: Component
    segmenter: Component
    find: Component
    copy: Component
    config: Component


@dataclass(frozen=True)
class _Result:
    """The right side: thresholds, and what they keep."""

    box: Component
    text: Component
    status: Component
    tabs: Component
    shown: Component
    mode: Component
    clear: Component
    masks: Component
    table: Component
    find_all: Component
    summary: Component
    sheet: Component


def make_page(actions: Actions) -> Component:
    """Return the page as Gradio's Blocks."""
    names = actions.offer.detectors[0].name, actions.offer.segmenters[0]
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True,
        delete_cache=(_CACHE_SECONDS, _CACHE_SECONDS),
    ) as blocks:  # fmt: skip
        state = gr.State(Session(names), time_to_live=_STATE_SECONDS)
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title", padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                query = _query_side(actions)
            with gr.Column(scale=8, min_width=560):
                result = _result_side(actions)
        _connect(actions, state, query, result)
    return blocks


def guard_files(blocks: Component, folder: Path) -> None:
    """Have the page take and show files of `folder` alone, where uploads and drawings lie.

    A request may call anything a file, for any component: Gradio would fetch an address and,
    on a page that is mounted, copy any file of the machine to where it serves it from.
    """
    for component in blocks.blocks.values():
        component.async_move_resource_to_block_cache = _only_from(
            folder.resolve(), component.async_move_resource_to_block_cache
        )
    blocks.has_launched = True  # from then on Gradio checks it, too


def _only_from(folder: Path, move: Any) -> Any:  # noqa: ANN401 - Gradio's
    async def move_own(path: Any) -> Any:  # noqa: ANN401 - Gradio's
        if path is not None and not Path(str(path)).resolve().is_relative_to(folder):
            raise ValueError("a file that was not uploaded here")
        return await move(path)

    return move_own


def _query_side(actions: Actions) -> _Query:
    pictures, offer = actions.pictures, actions.offer
    upload = gr.File(
        label="Drop an image here", file_count="single", height=64, elem_id="upload",
    )  # fmt: skip
    samples = gr.Gallery(
        [str(path) for path in pictures.samples], columns=4, rows=1, height=84,
        show_label=False, allow_preview=False, interactive=False, object_fit="cover",
        buttons=[], elem_id="samples",
    )  # fmt: skip
    with gr.Group():
        address = gr.Textbox(
            label="or its address", placeholder="https://", max_lines=1, elem_id="address"
        )
        task = gr.Textbox(
            label="or a task of the project, by its id", max_lines=1, elem_id="task",
            visible=pictures.project is not None,
        )  # fmt: skip
        prompt = gr.Textbox(
            label="Prompt", placeholder="red car . person with hat", lines=2, elem_id="prompt"
        )
        labels = gr.Textbox(
            pictures.labels(), label="Labels, as Car, Person; or a label config",
            placeholder="optional", lines=1, max_lines=3, elem_id="labels",
        )  # fmt: skip
    with gr.Row():
        detector = gr.Dropdown(
            [one.name for one in offer.detectors], value=offer.detectors[0].name,
            label="Detector", min_width=120, elem_id="detector",
        )  # fmt: skip
        segmenter = gr.Dropdown(
            list(offer.segmenters), value=offer.segmenters[0], label="Segmenter",
            min_width=120, elem_id="segmenter",
        )  # fmt: skip
    find = gr.Button("Find", variant="primary", elem_id="find")
    copy = gr.Button("Copy as label config", elem_id="copy")
    config = gr.Textbox(
        label="Label config", lines=4, max_lines=8, interactive=False, visible=False,
        buttons=["copy"], elem_id="config",
    )  # fmt: skip
    return _Query(
        upload, samples, address, task, prompt, labels, detector, segmenter, find, copy, config
    )


def _result_side(actions: Actions) -> _Result:
    first = actions.offer.detectors[0]
    with gr.Row():
        box = gr.Slider(
            LOWEST_SCORE, 1.0, first.box_threshold, step=0.01, label="Box threshold",
            buttons=[], elem_id="box",
        )  # fmt: skip
        text = gr.Slider(
            0.0, 1.0, first.text_threshold, step=0.01, label="Text threshold", buttons=[],
            elem_id="text",
        )  # fmt: skip
    start = Session((first.name, actions.offer.segmenters[0]))
    status = gr.HTML(said(start.status(Limits(1, 1))), elem_id="status", padding=False)
    with gr.Tabs() as tabs:
        with gr.Tab("One image", id=ONE_IMAGE):
            shown = gr.Image(
                interactive=False, show_label=False, height=430, format="jpeg",
                buttons=["fullscreen"], elem_id="shown",
            )  # fmt: skip
            with gr.Row(elem_id="clicking"):
                mode = gr.Radio(
                    [ON, OFF], value=ON, label="A click on the image is", container=False,
                    scale=4, elem_id="mode",
                )  # fmt: skip
                clear = gr.Button("Clear clicks", size="sm", elem_id="clear")
                masks = gr.Button("Make masks", size="sm", elem_id="masks")
            table = gr.HTML(candidates_table([]), elem_id="table", padding=False)
        with gr.Tab("Many images", id="many"):
            find_all = gr.Button(
                f"Find in the first {MOST_IMAGES} images", variant="primary", elem_id="find-all"
            )
            summary = gr.HTML(said(actions.about_many()), elem_id="summary", padding=False)
            sheet = gr.Image(
                interactive=False, show_label=False, format="jpeg", buttons=["fullscreen"],
                elem_id="sheet",
            )  # fmt: skip
    return _Result(
        box, text, status, tabs, shown, mode, clear, masks, table, find_all, summary, sheet
    )


def _connect(actions: Actions, state: Component, query: _Query, result: _Result) -> None:
    """Say which action belongs to what: the thresholds are inputs of all of them."""
    limits = [result.box, result.text]
    one = [state, result.status, result.shown, result.table]
    sheet = [result.summary, result.sheet]
    models = [query.detector, query.segmenter]
    asked = [state, query.prompt, query.labels, *models, *limits]
    query.upload.upload(actions.upload, [state, query.upload, *limits], one)
    query.samples.select(actions.sample, [state, *limits], one)
    query.address.submit(actions.address, [state, query.address, *limits], one)
    query.task.submit(actions.task, [state, query.task, *limits], one)
    gr.on([query.find.click, query.prompt.submit], actions.find, asked, one)
    for slider in limits:
        slider.input(
            actions.redraw, [state, *limits], [*one, *sheet], trigger_mode="always_last",
            show_progress="hidden",
        )  # fmt: skip
    query.detector.input(actions.detector, [state, *models], [*limits, *one])
    query.segmenter.input(actions.segmenter, [state, *models, *limits], one)
    result.shown.select(actions.click, [state, result.mode, *limits], one)
    result.clear.click(actions.clear, [state, *limits], one)
    result.masks.click(actions.masks, [state, *limits], one)
    result.find_all.click(actions.find_all, asked, [state, *sheet])
    result.sheet.select(actions.open, [state, *limits], [*one, result.tabs])
    copied = query.copy.click(actions.copy, [state, *limits], [query.config, result.status])
    copied.then(None, [query.config], None, js=_COPY)
