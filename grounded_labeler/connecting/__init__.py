"""Connecting a project of Label Studio to the service, and saying what is wrong where it fails."""
