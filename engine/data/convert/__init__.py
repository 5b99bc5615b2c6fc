"""The conversion of a data set to two .beton files."""
