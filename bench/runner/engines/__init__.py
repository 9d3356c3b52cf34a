"""Engines: what starts the trials of a run, and where.

An engine is a module here with a class ``Engine``; another package may offer one by an entry point in the group
``midibench.engines``. Which engine runs a trial changes none of its results, so a spec never names one.
"""
