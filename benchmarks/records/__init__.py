"""Records and what is made of them: files, tables, pages, curves, the README's section."""
