"""The options of `train_imagenet.py`: one file for each section of the YAML."""
