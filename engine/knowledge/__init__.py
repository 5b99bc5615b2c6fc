"""Accuracy by training time: published figures, our own measured runs, and predictions from both."""
