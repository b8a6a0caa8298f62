"""One knowledge store per file."""
