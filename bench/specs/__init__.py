"""Specs: YAML files with every choice of a benchmark. The shipped ones are in this folder."""
