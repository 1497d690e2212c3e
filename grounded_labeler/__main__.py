"""`python -m grounded_labeler` is `grounded-labeler`."""

from grounded_labeler.cli.main import main

main()
