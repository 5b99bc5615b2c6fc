"""Wrong labels, found from the outputs of a trained network."""
