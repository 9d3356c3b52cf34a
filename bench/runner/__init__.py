"""Runs a spec: prepares its dataset and runs its trials in child processes."""
