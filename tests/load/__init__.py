"""Many rows, many files, many runs."""
