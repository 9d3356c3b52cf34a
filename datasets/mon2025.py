"""The ten piano files that the paper (Mon 2025) trained on, and the sample that its author published, with their checksums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urljoin

import bench.api
from bench.api import DataError, Piece, Progress, Splits, Verified, read_midi

from ._download import compare, download
from ._files import Entry, contents, extends, file_sha256, identity, locate, read_entries
from ._web import FILE

TITLE = "Mon 2025"
LICENSE = "no licence given: arrangements of recent songs, as the paper's author published them"
NEEDS = "download"

CHECKSUMS = {
    "Beautiful Goodbye.mid": "9e90f3de4d98cd8fe4db92f4ab1708a1f30a62090f0fcddd6a7f152603efa061",
    "Beautiful.mid": "0c0e6c2886ee4ac17d19fef3f0ba7eec6bd32e513552f9a64e2dd3ba628598c7",
    "Didnt I.mid": "bb0a74cc2cdffd44bbdfb1e39101bb1bd9e4f9ad789a69742aaccbf5dc1df625",
    "Falling (Death Of A Tree).mid": "94ba3469690a72554cbaedace2b4a0088961704f007e770efd28f8eaa9397afa",
    "Make A Little Luck (Album Version).mid": "dc363198e8fd8a2257e6e1968faa5592e005805ab21c69cb120b2c26857f7d8c",
    "Never Quite Discussed.mid": "b644ab5a63bc1bb5e9d2e3c393bb5a9cde19869dd279d3bcba944ad5e0b9122f",
    "Over And Over (Album Version).mid": "ba3fcb9f7cc2fca4c25967bf2180ded9fb8389bb90da3e6fde146958b5f641c2",
    "Spark.mid": "b9208985298f0a16efa00c2cb3c7aefdf858e9abb1d802892e4534f43f2d79df",
    "The Day We Find Love.mid": "1f59ea6c49585bd721f7b2477652bf4cb8add99617c524ce3f2f6840bdb3f413",
    "Youre Beautiful.mid": "d828dafc754797dbfb9acfdb06f9182f94a150f30182aec8727c9768141ca562",
}

#: What the published network wrote, one file; it lies in the folder above the ten.
SAMPLE = "generated_music.mid"
SAMPLE_CHECKSUM = "4a69254af23a297f306f0d382d1ed882354f1cfc88b902d948dab9af069f0e46"

URL = "https://raw.githubusercontent.com/jjj201405/LSTM-music-generation-code-and-data-set/d3d10553ac83aa9ab6a86bd056a3af6808ab0af7/music_midi/"


class Dataset(bench.api.Dataset):
    """The paper's ten files. The paper names no split, so the last by name are held out.

    Parameters
    ----------
    holdout : int
        Number of test pieces, 1-8: the last by name. The one before them is the validation piece. 0 makes no split: for a
        spec whose protocol holds the pieces out in turn (`folds`).
    url : str
        Address of the folder with the files.
    pedal : {"ignore", "extend"}
        Whether notes last while the sustain pedal holds them.
    """

    def __init__(self, holdout: int = 2, url: str = URL, pedal: Literal["ignore", "extend"] = "ignore") -> None:
        if not 0 <= holdout <= len(CHECKSUMS) - 2:
            raise DataError(f"mon2025: holdout is {holdout}.", f"Expected 0 to {len(CHECKSUMS) - 2} of the ten files.")
        self.holdout = holdout
        self.pedal = extends("mon2025", pedal)
        self.url = url

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the folder that holds all ten files."""
        return locate(roots, lambda folder: all((folder / name).is_file() for name in CHECKSUMS))

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the files that are missing or differ, and the author's sample."""
        for name, sha256 in CHECKSUMS.items():
            path = folder / name
            if not path.is_file() or file_sha256(path) != sha256:
                download(self.url + quote(name), sha256, path, progress, FILE)
        if _sample(folder) is None:
            download(urljoin(self.url, f"../{SAMPLE}"), SAMPLE_CHECKSUM, folder / SAMPLE, progress, FILE)

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare with the known checksums."""
        return compare(folder, CHECKSUMS, progress)

    def fingerprint(self, source: Path | None) -> str:
        """Identity of the split and the files."""
        source = _required(source)
        files = contents(source, (source / name for name in CHECKSUMS))
        return identity("mon2025", 2, self.holdout, files, _sample(source) is not None, *(["pedal"] if self.pedal else []))

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Read the ten files; refuse any that isn't the paper's."""
        source = _required(source)
        if wrong := self.verify(source, progress).differences:
            raise DataError(f"{source} does not hold the paper's files:\n" + "\n".join(wrong), "Run `bench data fetch mon2025`.")
        names = sorted(CHECKSUMS)
        split = ["train"] * (len(names) - self.holdout - 1) + ["validation"] + ["test"] * self.holdout
        if self.holdout == 0:
            split = ["train"] * len(names)
        entries = [Entry(source / n, n, s, title=n.removesuffix(".mid")) for n, s in zip(names, split, strict=True)]
        remark = f"The last {self.holdout} of the ten files by name are the test pieces, the one before them is for validation."
        splits = read_entries(entries, progress, minimum_notes=1, pedal=self.pedal, remarks=(remark,) if self.holdout else ())
        sample = _sample(source)
        if sample is None:
            return splits
        return replace(
            splits,
            samples=(Piece(read_midi(sample, pedal=self.pedal), SAMPLE, "the author's sample", "", SAMPLE, SAMPLE_CHECKSUM),),
        )


def _sample(source: Path) -> Path | None:
    """Find the author's sample beside the ten files or in the folder above."""
    places = (source / SAMPLE, source.parent / SAMPLE)
    return next((path for path in places if path.is_file() and file_sha256(path) == SAMPLE_CHECKSUM), None)


def _required(source: Path | None) -> Path:
    if source is None:
        raise DataError("mon2025: the ten files were not found.", "Use --data DIR, or `bench data fetch mon2025`.")
    return source
