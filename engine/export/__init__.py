"""A trained network as a package for other programs, with a proof of its accuracy."""
