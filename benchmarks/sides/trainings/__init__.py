"""Whole training, from the file to the updated weights: our trainer, and a peer's loader with its step."""
