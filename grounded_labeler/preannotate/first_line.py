"""What the first line of a run says: what is looked for, by which thresholds, tiles and models."""

from collections.abc import Sequence

from grounded_labeler._text import shorten
from grounded_labeler.core.tiling import tiling_text
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.label_studio.thresholds import choose_thresholds
from grounded_labeler.preannotate.names import one_line
from grounded_labeler.preannotate.run import Run

_MOST_CHARACTERS = 200  # of what is looked for, and of a list of thresholds


def describe_run(run: Run, overrides: Overrides, queries: Sequence[Query] | None = None) -> str:
    """Say what is asked, who set each threshold, the tiles, the models and their version.

    Args:
        run: the run.
        overrides: the thresholds that its command line gives.
        queries: what is asked in the end, where the run itself is at other thresholds.
    """
    asked = run.queries if queries is None else queries
    return (
        f"for: {phrases_of(asked)}; {which_thresholds(run, overrides, asked)}; "
        f"tiles: {_tiles(asked)}; models: {run.models}; model version {run.version}"
    )


def _tiles(queries: Sequence[Query]) -> str:
    """The tiles of the images, for each image where they differ."""
    said = {query.target.name: tiling_text(query.tiling) for query in queries}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{tiles} ({image})" for image, tiles in said.items())


def phrases_of(queries: Sequence[Query]) -> str:
    """Say what is looked for, each phrase once."""
    phrases = dict.fromkeys(
        f"-{phrase.text}" if phrase.negative else phrase.text
        for query in queries
        for phrase in query.prompt.phrases
    )
    text = one_line(", ".join(phrases)) or "the labels of each task"
    return shorten(text, _MOST_CHARACTERS)


def which_thresholds(run: Run, overrides: Overrides, queries: Sequence[Query] | None = None) -> str:
    """The thresholds that hold and who set them; for each image where they differ."""
    said = {
        query.target.name: choose_thresholds(
            run.settings,
            run.summary,
            command_line=overrides,
            attributes=query.target.overrides,
            displayed=query.target.displayed,
        ).describe()
        + _own_thresholds(query)
        for query in (run.queries if queries is None else queries)
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{image}: {thresholds}" for image, thresholds in said.items())


def _own_thresholds(query: Query) -> str:
    """The box thresholds of phrases and labels that have one of their own, where they hold."""
    typed = [
        f"{phrase.text} {phrase.threshold:.4g}"
        for phrase in query.prompt.phrases
        if phrase.threshold is not None
    ]
    own = [
        f"{label.value} {label.score_threshold:.4g}"
        for label in query.target.labels
        if label.score_threshold is not None and not query.thresholds.overrides_labels
    ]
    said = [
        f"{shorten(one_line(', '.join(listed)), _MOST_CHARACTERS)} ({setter})"
        for listed, setter in ((typed, "prompt"), (own, "label config"))
        if listed
    ]
    return f", but for {', '.join(said)}" if said else ""
