"""How an image is stored in a .beton: one StorageFormat for each file."""
