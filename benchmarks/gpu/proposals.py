"""Whether the full-size models give the answers that the reference gives on the CPU."""

from benchmarks.agreement import pairs, record
from benchmarks.answers import proposals
from benchmarks.gpu.answers import TABLE, by_the_rule
from benchmarks.gpu.measuring import Notes
from benchmarks.gpu.prompts import SIZES_WH
from benchmarks.gpu.sides import NO_REFERENCE, Sides
from benchmarks.reference import Reference
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.images.decode import decode

_PROMPT, _COUNT = "cat . dog", 50


def measure_proposals(sides: Sides, notes: Notes) -> None:
    """Note how many of the reference's best boxes ours proposes, and masks of the same boxes."""
    if sides.reference is None:
        notes.left_out("all of it", NO_REFERENCE)
        return
    on_cpu = sides.device == "cpu"
    reference = sides.reference if on_cpu else Reference.load(sides.folders)
    name = sides.album.new(SIZES_WH[0])
    image, url = decode(sides.album[name]), f"{sides.address}/{name}"
    threshold = reference.threshold(image, _PROMPT, _COUNT)
    answer = reference.whole(url, _PROMPT, threshold)
    if answer.masks is None:
        raise RuntimeError("The reference made no masks.")
    for precision in sides.precisions:
        if not notes.has_time_for(precision):
            continue
        ours = sides.ours(precision)
        found = pairs((answer.boxes, answer.scores), proposals(ours, image, _PROMPT))
        prompts = VisualPrompts.of_boxes(answer.boxes)
        masks = [one.mask for one in ours.segmenter.segment(DecodedImage.of(image), prompts)]
        ious = [
            mask_iou(theirs, own.full()) for theirs, own in zip(answer.masks, masks, strict=True)
        ]
        name = f"{sides.device} {precision}"
        row = record(f"full-size random, best {_COUNT}", name, _COUNT, len(found), ious)
        notes.record(TABLE, by_the_rule(row, precision))
    if not on_cpu:
        same = sides.reference.whole(url, _PROMPT, threshold, with_masks=False)
        kept = pairs((answer.boxes, answer.scores), (same.boxes, same.scores))
        notes.record(
            TABLE,
            {
                "models": f"the reference, best {_COUNT}",
                "computed by": f"{sides.device} fp32",
                "boxes": max(_COUNT, len(same.boxes)),
                "the same": len(kept),
                "share": len(kept) / max(_COUNT, len(same.boxes)),
            },
        )
