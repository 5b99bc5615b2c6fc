"""Wrong labels, found through a trained network's outputs."""
