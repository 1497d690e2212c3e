"""What a playground is made of, as the settings and the command line say."""

from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.loader import check_models
from grounded_labeler.label_studio_api.client import Client
from grounded_labeler.label_studio_api.sample_tasks import SampleTasks
from grounded_labeler.playground.models import LocalModels
from grounded_labeler.playground.pictures import Pictures, Reader, images_of
from grounded_labeler.server.inspector import Inspector
from grounded_labeler.service import label_studio_of, make_fetcher, start_service
from grounded_labeler.settings import Settings


def local_models(settings: Settings) -> LocalModels:
    """Begin to load the models of the settings in this process.

    Raises WeightsError or SettingsError where they are not there.
    """
    check_models(settings)
    return LocalModels(Inspector(start_service(settings)))


def find_pictures(settings: Settings, folder: Path | None, project: int | None) -> Pictures:
    """Return the images to choose from; raises SettingsError and LabelStudioError."""
    reader = Reader(
        make_fetcher(settings),
        settings.max_image_bytes,
        settings.max_image_pixels,
        lambda: label_studio_of(settings),
        settings.stretch,
    )
    if folder is not None:
        return Pictures(reader, folder=images_of(folder))
    if project is None:
        return Pictures(reader)
    origin = label_studio_of(settings)
    if origin is None or not origin.token:
        raise SettingsError(
            "--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: where Label Studio is, "
            "and a token."
        )
    tasks = SampleTasks(Client(origin.url, origin.token), project)
    tasks.label_config()  # what is wrong with the project is said now
    return Pictures(reader, project=tasks)
