"""What the commands ask of a real Label Studio, over its API."""
