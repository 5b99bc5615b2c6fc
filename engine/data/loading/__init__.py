"""From a .beton to device batches: order, decode or pack, copy."""
