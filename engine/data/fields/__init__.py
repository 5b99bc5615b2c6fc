"""How an image lies in a .beton, for use with stock ffcv: one file each for the fields it does not bring itself."""
