"""From a .beton file to batches on the device: loader, producer thread, decode pool, windows, page cache, meters."""
