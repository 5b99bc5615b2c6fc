"""What a package ships as its example: files without this program, which the proof runs too."""
