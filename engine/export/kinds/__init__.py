"""One file for each kind of package."""
