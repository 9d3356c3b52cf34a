"""Plug-ins: discovery, headers, parameters and import."""
