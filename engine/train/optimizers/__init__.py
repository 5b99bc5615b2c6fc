"""Optimizers that torch does not bring, one file each."""
