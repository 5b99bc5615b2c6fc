"""`.beton` bytes and a crop -> pixels. One file per storage format; each sample's status is checked."""
