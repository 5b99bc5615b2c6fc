"""How accuracy is measured, and what else is measured of a trained network."""
