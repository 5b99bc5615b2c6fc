"""The images that both sides read: made or converted once, in each side's layout, in or out of the page cache."""
