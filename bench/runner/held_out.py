"""Held-out pieces of a spec: the dataset is prepared as for a run, but nothing is trained."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StoppedError
from bench.runner.datasets import Sink, prepare_dataset
from bench.runner.processes import Signals
from bench.specs.schema import Spec
from bench.storage.corpus import Corpus, load_corpus
from bench.storage.records import Prepared
from bench.storage.samples import Targets, read_target_file
from bench.system.paths import Places


@dataclass(frozen=True)
class HeldOut:
    """Music that a run of the spec would use.

    Parameters
    ----------
    spec : Spec
        Resolved at its scale.
    targets : Targets
        Prompts and the notes that follow them, in the order of ``targets.npz``.
    prepared : Prepared
        Result of preparing the dataset: title, licence, ``corpus`` (its file), ``corpus_key`` (its fingerprint), counts.
    """

    spec: Spec
    targets: Targets
    prepared: Prepared

    def corpus(self) -> Corpus:
        """Read all pieces of the dataset."""
        return load_corpus(Path(self.prepared.corpus))


def hold_out(spec: Spec, places: Places, *, fetch: bool = True, display: Sink | None = None) -> HeldOut:
    """Prepare the dataset of a spec in a child process, as a run does.

    Parameters
    ----------
    spec : Spec
        Resolved at its scale.
    places : Places
    fetch : bool
        Whether a missing dataset may be downloaded.
    display : callable, optional
        Called with each event.

    Raises
    ------
    BenchError
        If the dataset can't be found, read, or is too short for the protocol.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, Signals() as signals:
        folder = Path(temporary)
        job = {
            "task": "prepare",
            "folder": str(folder),
            "dataset": spec.dataset.model_dump(mode="json"),
            "protocol": spec.protocol.model_dump(mode="json"),
            "fetch": fetch,
            **places.job(),
        }
        try:
            show = display or (lambda event: None)
            prepared = prepare_dataset(job, folder / "job.json", folder / "stderr.log", signals, show)
        except StoppedError as stopped:
            raise StoppedError(stopped.number, "The same command starts it again.") from None
        return HeldOut(spec, read_target_file(folder / "targets.npz"), prepared)
