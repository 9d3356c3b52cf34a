"""What holds for all tests."""

from hypothesis import settings

# A deadline is an absolute time, and the first example may pay for an import.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
