"""Order, crops and random numbers: pure functions of seed, epoch and sample."""
