"""What one browser has in front of it: an image, what was seen in it, masks, a contact sheet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, RGBImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import BadRequest, GroundedLabelerError
from grounded_labeler.label_studio.drawings import MAX_CLICKS
from grounded_labeler.playground.drawing import (
    BoxKey,
    Cell,
    Click,
    cell_at,
    draw_image,
    draw_sheet,
    thumbnail_of,
)
from grounded_labeler.playground.label_config import write_label_config
from grounded_labeler.playground.models import Models, Picture
from grounded_labeler.playground.selection import Limits, Row, detections_of, rows_of
from grounded_labeler.server.inspector import Inspection, InspectionQuery
from grounded_labeler.weights.catalog import NO_SEGMENTER

Load = Callable[[], Picture]
Progress = Callable[[int, int], None]  # how many images are done, of how many


@dataclass(eq=False)
class Session:
    """The state of one browser; only `find`, `make_masks`, `click` and `find_in_all` run models.

    Attributes:
        names: the detector and the segmenter that are chosen.
        picture: the image at hand.
        seen: all candidates in it, once something was looked for.
        masks: the mask of each box that has one, by the bytes of the box.
        clicks: the clicks on one object, oldest first.
        clicked: the mask of that object.
        cells: the images of the contact sheet.
    """

    names: tuple[str, str]
    picture: Picture | None = None
    seen: Inspection | None = None
    masks: dict[BoxKey, Mask | None] = field(default_factory=dict)
    clicks: list[Click] = field(default_factory=list)
    clicked: Mask | None = None
    cells: list[Cell] = field(default_factory=list)
    _scale: float = 1.0
    _loads: list[Load] = field(default_factory=list)  # of the images of the sheet

    def show(self, picture: Picture) -> None:
        """Put another image in the place of the one at hand."""
        self.picture, self.seen = picture, None
        self.masks, self.clicks, self.clicked = {}, [], None

    def choose(self, names: tuple[str, str]) -> None:
        """Choose another detector and segmenter, whose masks may be others."""
        if names != self.names:
            self.names, self.masks = names, {}
            self.clicks, self.clicked = [], None

    def find(self, models: Models, query: InspectionQuery, limits: Limits) -> None:
        """Look for something in the image at hand, and make masks of what is kept.

        Raises GroundedLabelerError, as all of these do.
        """
        picture = self._at_hand()
        self.seen = models.detect(picture, self._by_name(query))
        self.make_masks(models, limits)

    def make_masks(self, models: Models, limits: Limits) -> None:
        """Make the masks that boxes at these thresholds lack."""
        picture, boxes = self._at_hand(), self._without_mask(limits)
        if not len(boxes) or self.names[1] == NO_SEGMENTER:
            return
        found = models.segment(picture, VisualPrompts.of_boxes(boxes), self.names)
        made = {box.tobytes(): one.mask for box, one in zip(boxes, found, strict=True)}
        self.masks = self.masks | made

    def click(self, models: Models, x: float, y: float, *, is_positive: bool) -> None:
        """Click on a pixel of the drawn image: the mask of what all clicks mark is made."""
        picture = self._at_hand()
        width, height = picture.size_wh
        place = min(x / self._scale, width - 1.0), min(y / self._scale, height - 1.0)
        clicks = [*self.clicks, (*place, is_positive)]
        if len(clicks) > MAX_CLICKS:
            raise BadRequest(f"More than {MAX_CLICKS} clicks are too many: clear them.")
        if not any(is_on for _, _, is_on in clicks):
            raise BadRequest("Click on the object first, then beside it.")
        points = np.array([[(one[0], one[1]) for one in clicks]], np.float32)
        positive = np.array([[one[2] for one in clicks]], np.bool_)
        [found] = models.segment(picture, VisualPrompts(None, points, positive), self.names)
        self.clicks, self.clicked = clicks, found.mask

    def clear_clicks(self) -> None:
        """Forget the clicks and their mask."""
        self.clicks, self.clicked = [], None

    def drawn(self, limits: Limits) -> RGBImage | None:
        """Draw the image at hand with what the thresholds keep; None where there is none."""
        if self.picture is None:
            return None
        detections = None if self.seen is None else detections_of(self.seen, limits)
        pixels, self._scale = draw_image(
            self.picture.image.pixels, detections, self.masks, self.clicked, self.clicks
        )
        return pixels

    def rows(self, limits: Limits) -> list[Row]:
        """Return all candidates with what became of them; none before anything was looked for."""
        return [] if self.seen is None else rows_of(self.seen, limits)

    def status(self, limits: Limits) -> str:
        """Say in a sentence what is kept."""
        if self.picture is None:
            return "Choose an image, type what to look for, and press Find."
        width, height = self.picture.size_wh
        about = f"{self.picture.name}, {width} x {height} pixels"
        if self.seen is None:
            return f"{about}. Type what to look for, and press Find."
        kept, every = len(detections_of(self.seen, limits)), len(self.seen.candidates)
        said = f"{about}: {kept} of {every} candidates kept."
        lacking = len(self._without_mask(limits))
        if lacking and self.names[1] != NO_SEGMENTER:
            said += f" {lacking} of them have no mask yet: press Make masks."
        own = {
            phrase.text: threshold
            for phrase, threshold in zip(
                self.seen.prompt.phrases, self.seen.score_thresholds, strict=True
            )
            if threshold is not None
        }
        if own:
            named = ", ".join(f"{text} {threshold:.4g}" for text, threshold in own.items())
            said += f" Phrases with a box threshold of their own: {named}."
        if (views := self.seen.candidates.views) is not None:
            said += f" Looked at {views.tiles.done} of {views.tiles.wanted} tiles."
        if self.seen.candidates.is_coarse:
            said += " Memory was short: the image was scaled down."
        if not self.seen.candidates.scores_tokens:
            said += " This detector scores whole phrases: the text threshold has no effect."
        return said

    def label_config(self, limits: Limits) -> str:
        """Write the label config that has the service find what is kept; raises BadRequest."""
        if self.seen is None:
            raise BadRequest("Press Find first: a label config says what is looked for.")
        return write_label_config(self.seen, limits, self.names)

    def find_in_all(
        self,
        models: Models,
        query: InspectionQuery,
        images: Sequence[tuple[str, Load]],
        progress: Progress,
    ) -> None:
        """Look for something in many images, of which only small copies are kept.

        An image that fails has the reason in its place; others go on.
        """
        query = replace(self._by_name(query), is_background=True)
        cells: list[Cell] = []
        for done, (name, load) in enumerate(images):
            progress(done, len(images))
            cells.append(_look(models, query, name, load))
        self.cells, self._loads = cells, [load for _, load in images]

    def sheet(self, limits: Limits) -> tuple[RGBImage, str] | None:
        """Draw the contact sheet, and say what is on it; None where there is none."""
        if not self.cells:
            return None
        pixels, count = draw_sheet(self.cells, limits)
        said = f"{count} found in {len(self.cells)} images. Click on one to open it."
        failures = [(cell.name, cell.seen) for cell in self.cells if isinstance(cell.seen, str)]
        for name, reason in failures[:5]:
            said += f" {name}: {reason}"
        if len(failures) > 5:
            said += f" And {len(failures) - 5} others failed."
        return pixels, said

    def open_cell(self, x: float, y: float) -> None:
        """Show the image at a pixel of the sheet, with what was seen in it; none between them."""
        number = cell_at(x, y, len(self.cells))
        if number is not None:
            self.show(self._loads[number]())
            seen = self.cells[number].seen
            self.seen = None if isinstance(seen, str) else seen

    def _at_hand(self) -> Picture:
        if self.picture is None:
            raise BadRequest("Choose an image first: upload one, or click on a sample.")
        return self.picture

    def _by_name(self, query: InspectionQuery) -> InspectionQuery:
        detector, segmenter = self.names
        return replace(query, detector=detector, segmenter=segmenter)

    def _without_mask(self, limits: Limits) -> Boxes:
        if self.seen is None:
            return np.zeros((0, 4), np.float32)
        boxes = detections_of(self.seen, limits).boxes
        return boxes[[box.tobytes() not in self.masks for box in boxes]]


def _look(models: Models, query: InspectionQuery, name: str, load: Load) -> Cell:
    try:
        picture = load()
    except GroundedLabelerError as error:
        return Cell(name, None, 1.0, str(error))
    thumbnail, scale = thumbnail_of(picture.image.pixels)
    try:
        return Cell(name, thumbnail, scale, models.detect(picture, query))
    except GroundedLabelerError as error:
        return Cell(name, thumbnail, scale, str(error))
