"""Files of a run: locks, notes in HDF5, outcomes in JSON, the run folder."""
