"""Which samples, which crops: pure functions of the seed, the epoch and the sample."""
