"""Errors a person reads: each message is one plain sentence that says how to mend it."""

from grounded_labeler._text import one_line


class GroundedLabelerError(Exception):
    """Base of all errors of this package.

    `status` is the HTTP status it becomes, `cause` the label it is counted under.

        GroundedLabelerError
          ExportError                    a dataset cannot be written
          SettingsError, WeightsError    the service cannot start, or the models cannot load
          BadRequest                     the request, or its label config, cannot be processed
            PromptError                  what an annotator typed cannot be processed
            TooLarge
          Refused                        the request did not arrive, or is no HTTP/1.1
          Unauthorized, CallerGone
          NotReady                       the models cannot run the request now
            StillLoading                 they will soon
          ImageError                     one image fails, the others go on
            NoImage
        OutOfMemory (a MemoryError)      one image fails, the others go on
    """

    status = 500
    cause = "error"


class SettingsError(GroundedLabelerError):
    """A setting has a value that cannot be used.

    The message is one printable line, whatever is in the value that it repeats.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class WeightsError(GroundedLabelerError):
    """Model files are missing, damaged or not what they should be."""


class BadRequest(GroundedLabelerError):
    """The request, or the label config in it, cannot be answered."""

    status = 400
    cause = "bad_request"


class TooLarge(BadRequest):
    """The request has more bytes than requests may have."""

    status = 413
    cause = "too_large"

    def __init__(self) -> None:
        super().__init__("The request is larger than MAX_BODY_BYTES.")


class Refused(GroundedLabelerError):
    """The request did not arrive, or is not one that this service's HTTP/1.1 knows."""

    cause = "refused"

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Unauthorized(GroundedLabelerError):
    """The caller did not give the user name and password that are set."""

    status = 401
    cause = "unauthorized"


class PromptError(BadRequest):
    """The detector cannot run the prompt that an annotator typed; the status field says why.

    `cited` is what the sentence has between double quotes of what was typed.
    """

    cause = "prompt"

    def __init__(self, sentence: str, cited: str | None = None) -> None:
        super().__init__(sentence)
        self.cited = cited

    @property
    def without_citation(self) -> str:
        """The sentence with an ellipsis in place of what was typed."""
        return str(self) if self.cited is None else str(self).replace(f'"{self.cited}"', '"…"')


class ImageError(GroundedLabelerError):
    """A task's image cannot be fetched or decoded; the other tasks are not affected."""

    status = 422
    cause = "fetch"


class NoImage(ImageError):
    """A task has no image where the label config says: asking again gives no other answer."""

    cause = "missing"


class ExportError(GroundedLabelerError):
    """A dataset cannot be written as it was asked for."""


class NotReady(GroundedLabelerError):
    """The models are still loading, could not be loaded, or have all they can do."""

    status = 503
    cause = "not_ready"


class StillLoading(NotReady):
    """The models are being loaded, which takes seconds or minutes: another try will find them."""


class CallerGone(GroundedLabelerError):
    """The client has closed the connection: nobody will read the response."""

    status = 499  # nginx's number for it
    cause = "client_disconnected"

    def __init__(self) -> None:
        super().__init__("The caller did not wait for the answer.")


class OutOfMemory(MemoryError):
    """A model needs more memory than its device has; only the image at hand is given up."""


def sentence_of(error: OSError) -> str:
    """What the system refused, with the file's name where the error has one."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}." if error.filename is None else f"{error.filename}: {reason}."
