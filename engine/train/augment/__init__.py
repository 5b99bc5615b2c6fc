"""Augmentations of training batches on the device: one file each, registered and applied in order in chain.py."""
