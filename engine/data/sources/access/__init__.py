"""How sources reach their files: local paths and URLs, tars, shards, lists of labels, pixels."""
