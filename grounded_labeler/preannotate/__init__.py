"""Many images by one command, which can be stopped and goes on where it was."""
