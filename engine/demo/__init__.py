"""The demo: a page in the browser for trying trained networks on pictures."""
