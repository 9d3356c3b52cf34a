"""Stored outcomes and samples to numbers, with their statistics."""
