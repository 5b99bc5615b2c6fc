"""Decoders, from records in memory to pixels.

They answer as a loader does, but nothing is prepared ahead: a batch is begun when it is asked for, shared among as
many threads as there are cores, and returned when it is complete.
"""
