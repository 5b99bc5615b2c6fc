"""Loaders, from the stored images to ready batches: ours and the peers, a file each.

The first lines of a peer's file say which of its settings were chosen in its favour.
"""
