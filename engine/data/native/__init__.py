"""The C library: decoders, transcoding, and the guard against failing disks."""
