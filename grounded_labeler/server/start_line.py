"""The first line of the log: what was started, on what, within which limits."""

import logging
from typing import Any

from grounded_labeler.__about__ import __version__
from grounded_labeler.inference.loader import cpu_threads
from grounded_labeler.models.runtime.device import pick_device
from grounded_labeler.settings import Settings

logger = logging.getLogger(__name__)

# Of the settings, those that refuse or end something.
_LIMITS = (
    "threads",
    "request_deadline",
    "model_deadline",
    "max_body_bytes",
    "max_tasks",
    "max_image_bytes",
    "max_image_pixels",
    "max_regions",
    "cache_bytes",
    "models_bytes",
)


def log_start(settings: Settings) -> None:
    """Write the line; what computes the models is known once they are loaded, and logged then."""
    facts = _facts(settings)
    limits = {field: getattr(settings, field) for field in _LIMITS}
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    bounds = ", ".join(f"{name.upper()}={value}" for name, value in limits.items() if value)
    logger.info(
        "grounded-labeler %s: %s; limits: %s",
        __version__, said, bounds,
        extra={"version": __version__, **facts, "limits": limits},
    )  # fmt: skip


def _facts(settings: Settings) -> dict[str, Any]:
    models = ", ".join(pair.name for pair in settings.offered.pairs)
    if settings.ray_address is not None:
        return {"models": models, "device": "a Ray cluster", "workers": settings.workers}
    return {
        "models": models,
        "device": pick_device(),
        "precision": settings.precision,
        "cpu_threads": cpu_threads(settings),
        "workers": settings.workers,
    }
