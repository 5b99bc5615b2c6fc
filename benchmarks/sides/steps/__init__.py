"""Training steps on images that lie on the device: ours and the peers, a file each."""
