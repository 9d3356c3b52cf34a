"""Files of a run: atomic writes and locks, notes in HDF5, outcomes in JSON, the run folder."""
