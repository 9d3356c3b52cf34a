"""The machine: paths, hardware, frameworks, versions, and its speed."""
