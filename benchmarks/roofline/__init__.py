"""How far from the limit: what a step or a decoder costs an image, against what the device was measured to do."""
