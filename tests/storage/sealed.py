"""Edit a stored file and give it the checksum that fits: damage that a checksum can't show."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bench.storage.arrays import read_arrays, write_arrays
from bench.storage.columns import Column, Mapped, write_columns
from bench.storage.files import json_bytes
from bench.system.disk import read_sealed, write_sealed


@contextlib.contextmanager
def edited(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Edit the arrays or columns of a file, which can be written to."""
    mapped = path.suffix == ".npy"
    stored = Mapped(path, 1 << 24).arrays if mapped else read_arrays(path, 1 << 24)
    arrays = {name: array.copy() for name, array in stored.items()}
    yield arrays
    if mapped:
        write_columns(path, {name: Column.of(array) for name, array in arrays.items()}, 1 << 40)
    else:
        write_arrays(path, arrays, 1 << 40)


@contextlib.contextmanager
def edited_hdf5(path: Path) -> Iterator[h5py.File]:
    """Edit the checkpoint of a TensorFlow training."""
    memory = io.BytesIO(read_sealed(path))
    with h5py.File(memory, "r+") as file:
        yield file
    write_sealed(path, memory.getvalue())


@contextlib.contextmanager
def edited_json(path: Path) -> Iterator[dict[str, Any]]:
    value = json.loads(path.read_bytes())
    yield value
    path.write_bytes(json_bytes(value))


def resealed(text: str) -> bytes:
    """Give the text of a JSON object that was edited its checksum: also one that `json_bytes` would not write."""
    content = text.split("\n", 1)[1].encode()
    return b'{"sha256":"%s",\n' % hashlib.sha256(content).hexdigest().encode() + content
