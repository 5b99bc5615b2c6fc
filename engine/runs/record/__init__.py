"""The record of a finished run."""
