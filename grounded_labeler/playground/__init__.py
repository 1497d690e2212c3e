"""A page to try prompts and thresholds on: Gradio is imported nowhere else."""
