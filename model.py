"""The file that Label Studio's convention wants; the model is in the package."""

from grounded_labeler.label_studio.backend import GroundedLabeler

__all__ = ["GroundedLabeler"]
