"""What all decoders share: the batch they are given, a thread's memory, the resize law."""
