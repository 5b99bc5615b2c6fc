"""Pictures and words about runs: drawing only, nothing is measured here."""
