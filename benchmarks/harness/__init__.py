"""How a comparison is made: options, cases, turns, processes, images, statistics and records."""
