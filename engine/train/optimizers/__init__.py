"""Optimizers and what surrounds them: parameter groups, weight averages, SAM."""
