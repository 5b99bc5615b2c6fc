"""splitmix64's mixing on Python's own integers, as a reference that no overflow or float can touch."""

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    """The finishing steps of splitmix64 (Steele et al. 2014) on `value` modulo 2^64."""
    value &= MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def uniform(key: int, draw: int) -> float:
    """The draw-th number of the stream of `key`, in [0, 1)."""
    return (mix(key + (draw + 1) * GOLDEN) >> 11) * 2.0**-53
