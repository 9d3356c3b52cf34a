"""Listening tests: a page of blind pairs made from a run, and what its listeners' votes say.

:mod:`~bench.listening.design` decides who hears what, :mod:`~bench.listening.clips` plays it equally loud,
:mod:`~bench.listening.page` writes the page and the key, :mod:`~bench.listening.power` says what they will show. Of the votes,
:mod:`~bench.listening.votes` reads what listeners sent, :mod:`~bench.listening.screening` judges the listeners,
:mod:`~bench.listening.preference` orders the systems, :mod:`~bench.listening.metrics` says which metrics agree, and
:mod:`~bench.listening.results` writes it down.
"""

from __future__ import annotations
