"""What can be set: `schema.py` declares every option, `load.py` reads YAML and the command line into it."""
