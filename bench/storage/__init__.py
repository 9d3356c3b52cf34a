"""Files of a run: locks, notes in arrays, outcomes in JSON, the run folder."""
