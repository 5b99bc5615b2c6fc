"""Every option of the two scripts, and how YAML and the command line are read into them."""
