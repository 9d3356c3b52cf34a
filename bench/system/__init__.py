"""The machine: paths, versions, frameworks, and what a second is worth here."""
