"""Label images in Label Studio by typing what is in them."""

__version__ = "0.2.0"  # pyproject.toml reads it
