"""Specs: YAML files that hold every choice of a benchmark; the shipped ones lie here."""
