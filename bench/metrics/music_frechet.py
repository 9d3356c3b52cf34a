"""Frechet Music Distance: the published figure, over a pretrained network's vectors. Optional, and no column of a report.

It takes the package `frechet-music-distance` (``pip install 'midibench[fmd]'``), which fetches the network CLaMP 2 from Hugging
Face when it is first used: 4.5 GB of weights, and the text model that they build on. Where these can't be had, an error says so.
:mod:`bench.metrics.frechet` has a distance that needs neither; the two numbers have nothing to do with each other.

The package keeps what it computed by the name of the folder it was given, so each call here writes folders of new names.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.api import Notes
from bench.errors import DataError, UsageError
from bench.music.midi import midi_bytes

PACKAGE = "frechet_music_distance"

#: What the package fetches, by its own documentation.
WEIGHTS = ("sander-wood/clamp2", "FacebookAI/xlm-roberta-base")


def frechet_music_distance(generated: Sequence[Notes], real: Sequence[Notes]) -> float:
    """Frechet Music Distance between two sets of pieces, as the package computes it by default (CLaMP 2, maximum likelihood).

    A covariance of 768 dimensions from fewer pieces is singular, and few pieces make the distance larger: compare only numbers
    over the same real pieces and as many samples. Pieces are written as MIDI of one piano track, which rounds onsets to 1 ms.

    Parameters
    ----------
    generated, real : sequence of Notes
        At least two pieces each, each of at least one note.

    Returns
    -------
    float
        Squared, without unit; lower is nearer.

    Raises
    ------
    UsageError
        If the package isn't installed.
    DataError
        If there are too few pieces, or the weights can't be fetched.

    References
    ----------
    Retkowski, Stępniak & Modrzejewski 2024, Frechet Music Distance: A Metric For Generative Symbolic Music Evaluation, arXiv
    2412.07948; package frechet-music-distance 1.0.0.
    """
    for name, pieces in (("samples", generated), ("real pieces", real)):
        if len(pieces) < 2 or not all(map(len, pieces)):
            raise DataError(f"A Frechet Music Distance needs two {name} or more, none of them empty; {len(pieces)} were given.")
    # Its progress bars and messages are no output of ours.
    with contextlib.redirect_stdout(sys.stderr):
        metric = _metric(_package())
        with tempfile.TemporaryDirectory() as temporary:
            folders = [Path(temporary, name) for name in ("real", "generated")]
            for folder, pieces in zip(folders, (real, generated), strict=True):
                folder.mkdir()
                for i, piece in enumerate(pieces):
                    (folder / f"{i:05}.mid").write_bytes(midi_bytes(piece))
            return float(metric.score(*folders))


def _package() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        missing = "is not installed" if error.name == PACKAGE else f"can't be imported: {error}"
        raise UsageError(
            f"The Frechet Music Distance needs the package frechet-music-distance, which {missing}.",
            "pip install 'midibench[fmd]', best into an environment of its own: it brings PyTorch and Transformers.",
        ) from error


def _metric(package: Any) -> Any:
    """The package's metric with its network loaded; its weights are fetched when they are used for the first time."""
    try:
        return package.FrechetMusicDistance(verbose=False)
    # The package reports a failed fetch by a line of text, then fails to open the file; what its libraries raise varies.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"The networks of the Frechet Music Distance can't be loaded: {reason}",
            f"They come from https://huggingface.co, repositories {' and '.join(WEIGHTS)}, and are kept in ~/.cache. "
            "Where that can't be reached, descriptor_frechet needs no weights.",
        ) from error
