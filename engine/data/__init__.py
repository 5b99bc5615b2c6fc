"""The way of an image: sources -> writer -> .beton -> loader. ffcv is imported in here and nowhere else."""
