"""The audit of a data set: class lists and balance, duplicate images, and labels that a network contradicts."""
