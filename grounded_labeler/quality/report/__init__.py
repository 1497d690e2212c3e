"""The report of an evaluation or a comparison: a page that opens offline, JSON and CSV."""
