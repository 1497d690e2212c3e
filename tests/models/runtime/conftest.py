from tests.models.detectors.conftest import one_thread

__all__ = ["one_thread"]
