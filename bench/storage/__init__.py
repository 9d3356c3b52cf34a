"""What is on disk: files that are whole or absent, samples and corpora in HDF5, the run folder."""
