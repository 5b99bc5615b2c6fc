"""Times the parts of a run on this machine: measure.py here, measure_apart.py in a process that ends with it."""
