"""Images that occur more than once, as the same bytes or as near copies."""
