"""`python -m engine VERB`: one file for each verb, registered in engine/__main__.py."""
