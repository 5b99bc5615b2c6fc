"""The .beton file: its layout, reading, checking and writing."""
