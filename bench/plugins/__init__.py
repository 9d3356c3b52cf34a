"""Plug-ins: which files there are, what they declare, and how they are loaded."""
