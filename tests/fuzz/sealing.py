"""Stored files with the right checksum, whatever they hold."""

from __future__ import annotations

import hashlib
from typing import Any

import h5py
import numpy as np

from bench.storage import hdf5


def sealed_json(data: bytes) -> bytes:
    """Put the checksum in front of a JSON object, as the store does."""
    content = data.removeprefix(b"{").lstrip()
    return b'{"sha256":"%s",\n' % hashlib.sha256(content).hexdigest().encode() + content


def fill(group: h5py.Group, values: dict[str, Any]) -> None:
    """Write values into HDF5 by name; attributes have an @ in front, and ``{"json": ...}`` is stored as JSON."""
    for name, value in values.items():
        if isinstance(value, dict) and "json" not in value:
            fill(group.create_group(name), value)
        elif name.startswith("@"):
            group.attrs[name[1:]] = value
        elif isinstance(value, dict):
            group[name] = hdf5.json_bytes(value["json"])
        else:
            group[name] = np.asarray(value, {"pitch": np.uint8, "velocity": np.uint8}.get(name) if _small(value) else None)


def _small(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 256 for v in value)
