"""Run a spec: prepare its dataset, and run its trials in child processes."""
