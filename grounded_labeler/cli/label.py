"""Label images from the command line: draw what a prompt names, and print it.

The last argument is the prompt, as "red car . person"; with --labels it may be left out.
The environment variables of the service choose the models where no option does. The exit
code is 0 when every image was labelled, 2 when some could not be, 1 when none was.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.cli.label_report import JsonReport, Report, TextReport
from grounded_labeler.core.tiling import parse_tiling, tiling_text
from grounded_labeler.errors import (
    GroundedLabelerError,
    ImageError,
    OutOfMemory,
    SettingsError,
    WeightsError,
    sentence_of,
)
from grounded_labeler.labeler import Labeler, parse_query
from grounded_labeler.parsing import STRETCH_HELP, parser_of
from grounded_labeler.preannotate.image_folder import SUFFIXES, read_folder
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DEFAULT_SEGMENTER, NO_SEGMENTER, default_thresholds
from grounded_labeler.weights.checksums import check_present
from grounded_labeler.weights.choice import ModelChoice, check_name, chosen_models
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind

_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class _Job:
    """An image to label, and where its drawing goes, if anywhere."""

    image: Path
    drawing: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = _parse(argv)
    try:
        failed, count = _run(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not failed:
        return 0
    return 1 if failed == count else 2


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("label", __doc__ or "")
    parser.usage = '%(prog)s IMAGE [IMAGE ...] "PROMPT" [options]'
    parser.add_argument(
        "given", nargs="+", metavar="IMAGE ... PROMPT",
        help='images or folders of images, then what to look for, as "red car . person"',
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH",
        help="where to write the drawing: a .png or .jpg for one image, a folder for several",
    )  # fmt: skip
    parser.add_argument("--labels", help="what the objects may be called, as Car,Person")
    parser.add_argument(
        "--box-threshold", type=_fraction, help="minimum score of a box (default: the model's own)"
    )
    parser.add_argument(
        "--text-threshold", type=_fraction,
        help="minimum mean score of a phrase's words in a box (default: the model's own)",
    )  # fmt: skip
    parser.add_argument(
        "--tiles", type=_tiles, metavar="off|auto|PIXELS",
        help="look at tiles of large images, too, of so many pixels a side, for small things "
        "(default: TILES, off)",
    )  # fmt: skip
    parser.add_argument(
        "--detector", type=_model("detector"), metavar="NAME", help="the model that finds boxes"
    )
    parser.add_argument(
        "--segmenter", type=_model("segmenter"), metavar="NAME",
        help=f"the model that turns boxes into masks (default: {DEFAULT_SEGMENTER})",
    )  # fmt: skip
    parser.add_argument("--model-dir", type=Path, metavar="DIR", help="folder of the weights")
    parser.add_argument("--stretch", action="store_true", help=STRETCH_HELP)
    parser.add_argument("--no-masks", action="store_true", help="find boxes only")
    parser.add_argument("--json", action="store_true", help="print one JSON object per image")
    options = parser.parse_intermixed_args(argv)
    options.labels = _names(options.labels)
    *images, last = options.given
    if options.labels and Path(last).exists():
        options.images, options.prompt = [*images, last], None
    elif not images or _is_image(Path(last)):
        parser.error('name the images, then what to look for, as: photo.jpg "red car . person"')
    else:
        options.images, options.prompt = images, last
    return options


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, as 0.3, not {text}")
    return value


def _tiles(text: str) -> str:
    try:
        return tiling_text(parse_tiling(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}, not {text}") from None


def _model(kind: Kind) -> Callable[[str], str]:
    def read(name: str) -> str:
        try:
            return check_name(kind, name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, not {name}") from None

    return read


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _run(options: argparse.Namespace) -> tuple[int, int]:
    """Label all images; return how many failed, and how many there are."""
    settings = Settings.from_env(os.environ)
    choice = ModelChoice(
        options.detector or settings.choice.detector,
        NO_SEGMENTER if options.no_masks else options.segmenter or settings.choice.segmenter,
        settings.detector_config,
    )
    model_dir = options.model_dir or settings.model_dir
    # What is wrong with the command line is said before the models load.
    parse_query(options.prompt, options.labels)
    jobs = _jobs([Path(image) for image in options.images], options.output)
    try:
        models = chosen_models(choice, model_dir)
        check_present(models, model_dir)
    except WeightsError as error:
        raise WeightsError(f"{error} {_fetching(choice, model_dir)}") from error
    box, text = _thresholds(options, settings, models[0])
    report: Report = JsonReport() if options.json else TextReport(box, text)
    failed = 0
    with Labeler(
        choice.detector,
        choice.segmenter,
        detector_config=choice.detector_config,
        precision=settings.precision,
        model_dir=model_dir,
        cpu_threads=settings.cpu_threads,
        detect_size=settings.detect_size,
        cache_bytes=settings.cache_bytes,
        max_image_pixels=settings.max_image_pixels,
        stretch=options.stretch or settings.stretch,
    ) as labeler:
        for job in jobs:
            try:
                result = labeler.label(
                    job.image,
                    options.prompt,
                    options.labels,
                    box_threshold=box,
                    text_threshold=text,
                    nms_threshold=settings.nms_threshold,
                    max_regions=settings.max_regions,
                    tiles=options.tiles or settings.tiles,
                )
                if job.drawing is not None:
                    job.drawing.parent.mkdir(parents=True, exist_ok=True)
                    result.draw().save(job.drawing, quality=90)
            except (ImageError, OutOfMemory) as error:
                failed += 1
                report.failure(job.image, str(error))
            except OSError as error:
                failed += 1
                report.failure(job.image, f"The drawing cannot be written: {sentence_of(error)}")
            else:
                report.result(job.image, result, job.drawing)
    return failed, len(jobs)


def _thresholds(
    options: argparse.Namespace, settings: Settings, detector: Model
) -> tuple[float, float]:
    """Return the box and the text threshold: of the command line, the settings or the model."""
    own = default_thresholds(detector)
    boxes = (options.box_threshold, settings.box_threshold, own.box)
    texts = (options.text_threshold, settings.text_threshold, own.text)
    return next(one for one in boxes if one is not None), next(
        one for one in texts if one is not None
    )


def _fetching(choice: ModelChoice, model_dir: Path) -> str:
    command = (
        f"grounded-labeler weights --detector {shlex.quote(choice.detector)} "
        f"--segmenter {shlex.quote(choice.segmenter)}"
    )
    return f"The models of this command: `{command} --model-dir {shlex.quote(str(model_dir))}`."


def _jobs(given: Sequence[Path], output: Path | None) -> list[_Job]:
    """Return the images in the order they were given, each with where its drawing goes.

    Raises SettingsError when a folder has no image, or nothing can be written to `output`.
    """
    named = list(_images(given, output))
    if output is None:
        return [_Job(image, None) for image, _ in named]
    is_file = bool(output.suffix) and not output.is_dir()
    if is_file and (len(given) > 1 or given[0].is_dir()):
        raise SettingsError(f"{output} is one file, but the images are several: name a folder.")
    if is_file and output.suffix.lower() not in _SUFFIXES:
        raise SettingsError(f"{output} must end in .png or .jpg, or be a folder that there is.")
    drawings = [output] if is_file else [output / name for name in _drawing_names(named)]
    _check_writable(output.parent if is_file else output)
    sources = {os.path.realpath(image) for image, _ in named}
    for drawing in drawings:
        if os.path.realpath(drawing) in sources:
            raise SettingsError(f"{drawing} is one of the images: write the drawing elsewhere.")
    return [_Job(image, drawing) for (image, _), drawing in zip(named, drawings, strict=True)]


def _images(given: Iterable[Path], output: Path | None) -> Iterator[tuple[Path, Path]]:
    """Each image with its name: its path below the folder that was given, or its file's name."""
    for path in given:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        for name, image in sorted(read_folder([path], output or path).paths.items()):
            # What an earlier run drew is no image to label.
            if output is None or not image.is_relative_to(os.path.realpath(output)):
                yield image, Path(name)


def _drawing_names(named: Iterable[tuple[Path, Path]]) -> Iterator[Path]:
    """A name for each drawing, each once: a.png, and a.jpg.png where that is taken."""
    taken: set[Path] = set()
    for _, name in named:
        drawing, number = name.with_suffix(".png"), 1
        while drawing in taken:
            ending = f"{name.suffix}.png" if number == 1 else f"-{number}.png"
            drawing, number = name.with_name(f"{name.stem}{ending}"), number + 1
        taken.add(drawing)
        yield drawing


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"Nothing can be written to {folder}: {error.strerror}.") from error
