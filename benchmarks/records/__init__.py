"""Records and their outputs: files, tables, pages, curves, the README's section."""
