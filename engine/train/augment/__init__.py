"""What is done to a training batch on the device: one file for each kind, composed in chain.py."""
