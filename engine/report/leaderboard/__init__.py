"""Finished runs and published points in one order."""
