"""The types that the engine and its plug-ins share. The engine and a model talk in notes, never in tokens.

A plug-in is one Python file and imports nothing else of this package; MIDI is read and written by :func:`read_midi` and
:func:`midi_bytes`, which this module exports. The first line of its module docstring describes it;
literals at its top declare what it is (they are read without importing the file); its class is named ``Model`` or ``Dataset``
and derives from :class:`Model` or :class:`Dataset` of this module.

Header of a model, FEATURES alone without a default::

    FEATURES = "..."          # one line on the model, Table 2's last column
    REQUIRES = ("torch",)     # importable modules beside NumPy; they decide which interpreter runs it, and whether a GPU can
    ROLE = "model"            # or "reference": a row that calibrates the metrics, named in a spec's `references`
    PRETRAINED = False        # True: it is used as it comes, without a training; its row is flagged
    NEEDS = "nothing"         # or "download", "folder": weights that it comes with, which have to be fetched, or be there
    WEIGHTS = ()              # hyperparameters that choose these weights, and that `bench model fetch` must be given
    PROMPT = True             # False: it can't continue a prompt; the report says so
    GIVES_VELOCITY = True     # False: its notes have no velocity of their own, so that columns of velocity are undefined
    LIKELIHOOD = None         # or "exact", "bound": of the notes that it is given
    UNIT = "note"             # or "frame", "event": what its `log_likelihood` is over, as published tables have it
    SEES_TARGET = False       # True only for reference rows made from the target itself
    SEES_SAMPLES = False      # True only for a row made from the samples of a published system that come with the dataset
    CONSTRAINT = False        # True: `generate` draws each pitch by its `constraint`
    TINY = {"width": 16}      # hyperparameters at which its tests take seconds

Header of a dataset::

    TITLE = "..."             # name in reports
    LICENSE = "..."           # licence of the music
    NEEDS = "nothing"         # or "download" (has `fetch`), or "folder" (a path must be given)
"""

from __future__ import annotations

from bench.api.chunks import in_chunks
from bench.api.dataset import Dataset, Piece, Progress, Skipped, Splits, Verified
from bench.api.model import Model
from bench.api.training import Budget, Run, seed_for
from bench.api.weights import compared, content_digest, download, file_sha256
from bench.errors import BenchError, DataError, NoProbabilityError, PluginError, TrialError, fetch_command
from bench.music.codec import NoteCodec
from bench.music.midi import midi_bytes, midi_content, read_midi, walk
from bench.music.notes import FIELDS, Notes
from bench.music.reading import Reading, midi_digest, read_midi_files
from bench.music.ticks import Ticks, from_score, from_ticks, to_score, to_ticks
from bench.system.connections import RefusedError, Watch, is_public, watched_session
from bench.system.disk import DamagedFileError, data_bytes, read_sealed, write_file, write_sealed
from bench.system.memory import memory_limited

__all__ = [
    "FIELDS",
    "BenchError",
    "Budget",
    "DamagedFileError",
    "DataError",
    "Dataset",
    "Model",
    "NoProbabilityError",
    "NoteCodec",
    "Notes",
    "Piece",
    "PluginError",
    "Progress",
    "Reading",
    "RefusedError",
    "Run",
    "Skipped",
    "Splits",
    "Ticks",
    "TrialError",
    "Verified",
    "Watch",
    "compared",
    "content_digest",
    "data_bytes",
    "download",
    "fetch_command",
    "file_sha256",
    "from_score",
    "from_ticks",
    "in_chunks",
    "is_public",
    "memory_limited",
    "midi_bytes",
    "midi_content",
    "midi_digest",
    "read_midi",
    "read_midi_files",
    "read_sealed",
    "seed_for",
    "to_score",
    "to_ticks",
    "walk",
    "watched_session",
    "write_file",
    "write_sealed",
]
