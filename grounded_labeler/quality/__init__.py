"""How good a project's predictions are: evaluate, tune, and accept those that are sure."""
