"""Label images from Python: load the models once, then label as many images as you like."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, cast, overload

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import Prompt, parse_prompt, phrases_from_labels
from grounded_labeler.core.tiling import OFF, Tiling, parse_tiling
from grounded_labeler.core.types import DecodedImage, Label, RGBImage, Thresholds
from grounded_labeler.errors import PromptError
from grounded_labeler.images.load import ImageSource, load_image
from grounded_labeler.inference.loader import DeviceChoice, FileLoader
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.results import LabelResult
from grounded_labeler.settings_types import PrecisionChoice
from grounded_labeler.weights.catalog import DEFAULT_SEGMENTER, default_thresholds
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.choice import detector as find_detector


class Labeler:
    """A detector and, unless it is "none", a segmenter, loaded and ready to label images.

    Reads no environment variable and downloads nothing: `grounded-labeler weights` fetches
    the models. `Labeler("demo", "demo")` runs the small bundled models. Several threads may
    share one: their batches run one after another.

    Example:
        >>> with Labeler("demo", "demo") as labeler:
        ...     result = labeler.label("photo.jpg", "red star . blue circle")
        ...     result.draw().save("seen.png")
    """

    def __init__(
        self,
        detector: str = "groundingdino-swint-ogc",
        segmenter: str = DEFAULT_SEGMENTER,
        *,
        detector_config: str | None = None,
        device: DeviceChoice = "auto",
        precision: PrecisionChoice = "auto",
        model_dir: str | PathLike[str] = "models",
        cpu_threads: int | None = None,
        detect_size: int | None = None,
        cache_bytes: int = 268_435_456,
        max_image_pixels: int = 100_000_000,
        stretch: bool = False,
    ) -> None:
        """Load the models: seconds for the demo models, up to a minute for large ones.

        Args:
            detector: name of the model that finds boxes, or the path of your own, with a "/".
            segmenter: name or path of the model that turns boxes into masks; "none" for boxes
                only.
            detector_config: what a detector that is a single checkpoint is of, as
                "GroundingDINO_SwinT_OGC", or its config file.
            device: "cuda", "cpu", or "auto" for a GPU where there is one.
            precision: "fp32", "mixed" (bf16 in some layers, CPUs with bf16 only), "bf16",
                "fp16" (GPUs only), or "auto" for fp16 on a GPU and fp32 on a CPU.
            model_dir: folder of the weights.
            cpu_threads: threads that the models compute with, in this whole process; all
                usable cores if None.
            detect_size: pixels of an image's shorter side in the detector, 256 to 1600; the
                model's own (800) if None.
            cache_bytes: memory for the features of the last images, which makes another
                prompt or threshold on the same image fast; 0 disables it.
            max_image_pixels: larger images are refused before they are decoded.
            stretch: whether images of more than 8 bits a channel are stretched from their darkest
                to their brightest value, for 12-bit data in 16-bit files.

        Raises WeightsError where the weights are missing or damaged, SettingsError for a
        model or a device that there is not.
        """
        self._max_image_pixels, self._stretch = max_image_pixels, stretch
        self._lock = threading.Lock()
        choice = ModelChoice(detector, segmenter, detector_config)
        loader = FileLoader(
            Path(model_dir),
            ByteCache(cache_bytes),
            device=device,
            precision=precision,
            cpu_threads=cpu_threads,
            detect_size=detect_size,
        )
        own = find_detector(detector, Path(model_dir), detector_config)
        self._thresholds = default_thresholds(own)
        self._pipeline: Pipeline | None = loader.load_pair(choice)

    @overload
    def label(  # type: ignore[overload-overlap]  # a str is one image, not a sequence of them
        self,
        images: ImageSource,
        prompt: str | None = None,
        labels: Sequence[str | Label] | None = None,
        *,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_threshold: float = 0.70,
        max_regions: int = 300,
        masks: bool = True,
        tiles: int | str = OFF,
    ) -> LabelResult: ...

    @overload
    def label(
        self,
        images: Sequence[ImageSource],
        prompt: str | Sequence[str] | None = None,
        labels: Sequence[str | Label] | None = None,
        *,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_threshold: float = 0.70,
        max_regions: int = 300,
        masks: bool = True,
        tiles: int | str = OFF,
    ) -> list[LabelResult]: ...

    def label(
        self,
        images: ImageSource | Sequence[ImageSource],
        prompt: str | Sequence[str] | None = None,
        labels: Sequence[str | Label] | None = None,
        *,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_threshold: float = 0.70,
        max_regions: int = 300,
        masks: bool = True,
        tiles: int | str = OFF,
    ) -> LabelResult | list[LabelResult]:
        """Find what a prompt names in one image, or in each of a list.

        Args:
            images: an image, or a list or tuple of them. An image is the path of a file, the
                bytes of a file, a PIL image, or a uint8 RGB array of shape (H, W, 3).
            prompt: phrases to look for, as "red car . person"; one for all images, or a list
                with one per image. None looks for the labels. A phrase may have a box threshold
                of its own, as "red car > 0.2 . person", which goes before `box_threshold`.
            labels: what the objects may be called, as "Car". None takes the labels that the
                prompt names itself, as in "red car -> Car".
            box_threshold: minimum score of a phrase's best token in a box, in [0, 1]. If None,
                the `score_threshold` of the phrase's label, or else the detector's own.
            text_threshold: minimum mean score of all of a phrase's tokens in a box, in [0, 1];
                the detector's own if None.
            nms_threshold: boxes that overlap more than this (IoU in [0, 1]) are one object.
            max_regions: maximum number of objects per image, best first.
            masks: whether to make masks, if there is a segmenter.
            tiles: for small things in large images: the side of tiles in pixels, which the
                detector looks at beside the whole image, or "auto" for at most 25 of the size
                that it sees, where an image's longer side is more than twice that; "off" for none.

        Returns:
            A result for one image, a list of results in the same order for a list of them.
            Each result holds its image: label one after another what does not fit in memory.

        Raises:
            ValueError, TypeError: an argument is not what it must be.
            PromptError: a prompt names nothing, a threshold in it is not in [0, 1], or a phrase
                is too long for the detector.
            ImageError: an image cannot be read.
            OutOfMemory: an image needs more memory than the device has.
        """
        own = self._thresholds
        box = own.box if box_threshold is None else box_threshold
        text = own.text if text_threshold is None else text_threshold
        thresholds = replace(
            _thresholds(box, text, nms_threshold, max_regions),
            overrides_labels=box_threshold is not None,
        )
        tiling = _tiling(tiles)
        if isinstance(images, list | tuple):
            sources, prompts = list(images), _prompts(prompt, len(images))
        elif prompt is None or isinstance(prompt, str):
            sources, prompts = [cast(ImageSource, images)], [prompt]
        else:
            raise ValueError("A list of prompts needs a list of images, one for each prompt.")
        asked = [parse_query(text, labels) for text in prompts]
        requests = (
            InferenceRequest(
                DecodedImage.of(self._load(source)),
                query,
                known,
                thresholds,
                with_masks=masks,
                with_near_misses=True,
                tiling=tiling,
            )
            for source, (query, known) in zip(sources, asked, strict=True)
        )
        results = list(self._run(requests))
        return results if isinstance(images, list | tuple) else results[0]

    def close(self) -> None:
        """Release the models and their memory; the labeler cannot be used again."""
        with self._lock:
            self._pipeline = None
        compute.trim_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self, source: ImageSource) -> RGBImage:
        return load_image(source, max_pixels=self._max_image_pixels, stretch=self._stretch)

    def _run(self, requests: Iterator[InferenceRequest]) -> Iterator[LabelResult]:
        """Run the requests in batches, with the images of one batch decoded at a time."""
        while batch := list(islice(requests, self._loaded().batch_size)):
            with self._lock:
                results = self._loaded().run(batch)
            for request, result in zip(batch, results, strict=True):
                yield LabelResult.from_inference(request, result)

    def _loaded(self) -> Pipeline:
        if self._pipeline is None:
            raise ValueError("This Labeler is closed: make a new one.")
        return self._pipeline


def _thresholds(box: float, text: float, nms: float, max_regions: int) -> Thresholds:
    for name, value in (("box", box), ("text", text), ("nms", nms)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}_threshold must be a number from 0 to 1, not {value}.")
    if max_regions < 1:
        raise ValueError(f"max_regions must be at least 1, not {max_regions}.")
    return Thresholds(box, text, nms, max_regions)


def _tiling(tiles: int | str) -> Tiling | None:
    try:
        return parse_tiling(str(tiles))
    except ValueError as error:
        raise ValueError(f"tiles must be {error}, not {tiles!r}.") from None


def _prompts(prompt: str | Sequence[str] | None, count: int) -> list[str | None]:
    if prompt is None or isinstance(prompt, str):
        return [prompt] * count
    if len(prompt) != count:
        raise ValueError(
            f"There are {len(prompt)} prompts for {count} images: give one prompt for all, "
            "or one for each image."
        )
    return list(prompt)


def parse_query(
    text: str | None, labels: Sequence[str | Label] | None
) -> tuple[Prompt, tuple[Label, ...]]:
    """Return the phrases to look for and the labels that objects may have.

    Args:
        text: the prompt; None looks for the labels.
        labels: the labels; None takes those that the prompt names itself.

    Raises PromptError when there is nothing to look for.
    """
    if isinstance(labels, str):
        raise TypeError(f'labels must be a list, as ["{labels}"].')
    known = tuple(one if isinstance(one, Label) else Label(one) for one in labels or ())
    if text is None:
        prompt = phrases_from_labels(known)
    else:
        if labels is None:
            named = (phrase.label for phrase in parse_prompt(text, ()).phrases)
            known = tuple(Label(name) for name in dict.fromkeys(named) if name is not None)
        prompt = parse_prompt(text, known)
    if not prompt.phrases:
        raise PromptError(
            'There is nothing to look for: give a prompt, as "red car . person", or labels.'
        )
    return prompt, known
