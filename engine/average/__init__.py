"""Weights of several networks averaged into one (soups, SWA), with its batch norms and accuracy measured."""
