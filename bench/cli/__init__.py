"""The commands, a subject a module. Each is a plain function; :mod:`bench.cli.app` gives it its name.

A command imports what it needs inside itself: `bench --help` and `bench list` load nothing heavy.
"""
