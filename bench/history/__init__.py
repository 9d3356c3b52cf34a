"""Runs over time: a file with a line for each run, trends, and where they changed.

- :mod:`entry`: what is kept of a run; :mod:`file`: the file; :mod:`git`: baselines that a repository has held, as entries.
- :mod:`series`: entries as series of one metric of one row; :mod:`changes`: change points, and the last run against those before.
- :mod:`grids`, :mod:`words`: tables and sentences; :mod:`figures`, :mod:`formats`: these as text, Markdown and a page.
- :mod:`noise`: what earlier runs tell the gate of the noise of trainings.
"""
