"""The old form of `grounded-labeler prompts`, for one more release."""

from grounded_labeler.cli.main import run_old

if __name__ == "__main__":
    run_old("grounded_labeler.prompts", "prompts")
