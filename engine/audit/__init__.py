"""`python -m engine audit`: whether the labels of a training and a validation file can be believed."""
