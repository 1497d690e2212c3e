"""The images that results were published of: on the disk, or fetched and held to their sum."""

from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.errors import SettingsError, WeightsError, sentence_of
from grounded_labeler.weights.checksums import sha256_of
from grounded_labeler.weights.download import fetch
from grounded_labeler.weights.reference_values import ReferenceImage

# Beside the weights: the images, and what became of each verification.
FOLDER = "verify"
# An image that cannot be had is no failure, so nobody should wait long for it.
_WAITS = (1.0,)


class ReferenceImages:
    """Finds reference images: among files that the user named, kept from before, or fetched."""

    def __init__(
        self,
        model_dir: Path,
        given: Sequence[Path] = (),
        *,
        is_offline: bool = False,
        waits: Sequence[float] = _WAITS,
    ) -> None:
        """Keep fetched images below `model_dir`.

        Args:
            model_dir: folder of the weights.
            given: image files that the user has.
            is_offline: whether nothing may be fetched.
            waits: seconds before each further try of a download.

        Raises SettingsError when a file of `given` cannot be read.
        """
        self._folder = model_dir / FOLDER
        self._is_offline, self._waits = is_offline, waits
        self._given: dict[Path, str] = {}
        for path in given:
            try:
                self._given[path] = sha256_of(path)
            except OSError as error:
                raise SettingsError(sentence_of(error)) from error
        self._used: set[Path] = set()

    def path_of(self, image: ReferenceImage) -> Path:
        """Return the file of `image`.

        A file of the user's is taken by its sum; where no sum is known, by its name. Raises
        WeightsError that says why there is none.
        """
        for path, found in self._given.items():
            if found == image.sha256 if image.is_known else path.name == image.name:
                self._used.add(path)
                return path
        if not image.is_known:
            raise WeightsError(
                f"The sum of the image {image.name} is not known here: get it from {image.url} "
                "and name it with --image."
            )
        path = image.bundled or self._folder / image.name
        if path.is_file() and sha256_of(path) == image.sha256:
            return path
        if image.bundled is not None:
            raise WeightsError(f"{path} is damaged: install this package again.")
        if self._is_offline:
            raise WeightsError(
                f"The image {image.name} is not here: get it from {image.url} and name it with "
                "--image."
            )
        try:
            return fetch(image.file, self._folder, waits=self._waits)
        except OSError as error:
            raise WeightsError(f"The image {image.name} cannot be kept: {error}.") from error

    def has_given(self, image: ReferenceImage) -> bool:
        """Return whether the user named a file for an image without a known sum."""
        return not image.is_known and any(path.name == image.name for path in self._given)

    def check_all_used(self) -> None:
        """Raise SettingsError when a file of the user's is none of the images asked for."""
        for path, found in self._given.items():
            if path not in self._used:
                raise SettingsError(
                    f"{path} is none of the images that results of these models were published "
                    f"of: its SHA-256 is {found}."
                )
