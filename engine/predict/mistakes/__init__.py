"""Where a network errs on a file: every image judged once, the telling ones chosen and drawn as a page."""
