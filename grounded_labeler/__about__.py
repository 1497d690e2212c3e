"""The version of this program, for pyproject.toml too."""

__version__ = "0.2.0"
