"""The forms that people train with, a module for each."""

from collections.abc import Mapping

from grounded_labeler.exports.formats.coco import write_coco
from grounded_labeler.exports.formats.cvat import write_cvat
from grounded_labeler.exports.formats.label_studio import write_label_studio
from grounded_labeler.exports.formats.png import write_png
from grounded_labeler.exports.formats.voc import write_voc
from grounded_labeler.exports.formats.yolo import write_yolo, write_yolo_obb, write_yolo_seg
from grounded_labeler.exports.types import Form

# Where the files are follows from how each form's readers find them.
FORMS: Mapping[str, Form] = {
    "coco": Form(write_coco, lambda split: f"images/{split}"),
    "yolo": Form(write_yolo, lambda split: f"images/{split}"),
    "yolo-seg": Form(write_yolo_seg, lambda split: f"images/{split}"),
    "yolo-obb": Form(write_yolo_obb, lambda split: f"images/{split}"),
    "voc": Form(write_voc, lambda split: "JPEGImages"),
    "cvat": Form(write_cvat, lambda split: "images"),
    "label-studio": Form(write_label_studio, lambda split: "images"),
    "png": Form(write_png, lambda split: f"images/{split}"),
}
