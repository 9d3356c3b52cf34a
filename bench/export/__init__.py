"""A finished run's numbers in other programs: experiment trackers and tables.

- :mod:`contents`: what is exported of a run, whichever program takes it.
- :mod:`mlflow`, :mod:`tensorboard`, :mod:`trackio`: trackers, each by its own library.
- :mod:`values`: one long table of every value, as CSV or Parquet.

A run is exported after it was made, from its folder alone, so a tracker that fails costs no training. Exporting a run again
replaces what an earlier export of it left. The libraries are optional and imported by the function that uses them.
"""
