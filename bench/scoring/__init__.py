"""Scores of a run from its stored outcomes and samples, with statistics."""
