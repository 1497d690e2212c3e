"""What is known of models that no test here loads."""

from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import PairSummary, summarize


def models_of(settings: Settings) -> PairSummary:
    """The summary of the models of the settings."""
    return summarize(settings.choice, settings.model_dir)


DEFAULT = models_of(Settings.from_env({}))
