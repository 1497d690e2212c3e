"""Datasets in the forms that people train with."""
