"""How fast a machine is for a recipe: measured here, by published figures, or in another host."""
