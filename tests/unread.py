"""A standard output whose reader is gone, as behind `| head`."""

import io


class NobodyReads(io.StringIO):
    """Raises BrokenPipeError at the first write."""

    def write(self, text: str, /) -> int:
        """Nobody reads it."""
        raise BrokenPipeError
