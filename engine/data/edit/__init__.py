"""Operations on finished .beton files: merge, subset, verify, extract, contact sheet."""
