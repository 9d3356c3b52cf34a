"""A run folder that someone else made: it shows and changes nothing outside of itself, and hangs nothing."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Budget, Run
from bench.errors import BenchError, DataError, MachineError
from bench.gate import baseline_file
from bench.music.notes import Notes
from bench.report import write_reports
from bench.storage import samples as stored_samples
from bench.storage.corpus import load_corpus
from bench.storage.files import FORMAT, DamagedError, read_json, write_json
from bench.storage.outcome import OUTCOME
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples, read_samples, read_target_file, write_samples
from bench.system.disk import DamagedFileError, file_digest, open_log, read_file, read_sealed, write_file
from tests.storage.sealed import edited
from tests.storage.test_records import DONE, RUN


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    write_json(run.run_file, RUN)
    return run


@pytest.mark.parametrize("place", [".lock", "trials", "midi", "trials/k/samples.h5", "trials/k/checkpoint", "history.tmp"])
def test_a_link_anywhere_is_refused_and_not_followed(run: RunFolder, tmp_path: Path, place: str) -> None:
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    link = run.path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(mine)
    for use in (run.read, run.lock().__enter__, lambda: write_reports(run.path)):
        with pytest.raises(DataError, match=f"{place} is a link"):
            use()
    assert mine.read_text() == "of the user"


def test_a_pipe_hangs_nothing(run: RunFolder) -> None:
    (run.path / "trials" / "k").mkdir(parents=True)
    os.mkfifo(run.path / "trials" / "k" / "outcome.json")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        run.read()
    with pytest.raises(DamagedFileError, match="not a file of its own"):
        read_file(run.path / "trials" / "k" / "outcome.json", 100)


def test_a_second_name_of_another_file_is_not_appended_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    os.link(mine, tmp_path / "stderr.log")
    with open_log(tmp_path / "stderr.log") as log:
        log.write(b"new")
    assert mine.read_text() == "of the user"
    write_file(tmp_path / "stderr.log", b"new")
    assert mine.read_text() == "of the user"


def test_a_temporary_name_that_is_a_link_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".a.guessed.tmp").symlink_to(mine)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"new")
    assert mine.read_text() == "of the user"


@pytest.mark.parametrize("key", ["../../mine", "/etc", ".", "", "a/b", "k" * 200])
def test_a_key_leads_nowhere_else(run: RunFolder, key: str) -> None:
    write_json(run.run_file, RUN | {"trials": [{"key": key, "trial": RUN["trials"][0]["trial"]}]})
    with pytest.raises(DataError, match=r"trials\.0\.key"):
        run.read()


@pytest.mark.parametrize("name", ["../../../mine", "/etc/passwd", "outcome.json", "midi/../../x"])
def test_an_outcome_vouches_only_for_its_own_files(name: str) -> None:
    with pytest.raises(ValueError, match="no file of a trial"):
        OUTCOME.validate_python(DONE | {"digests": {name: "0" * 64}})


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    notes = Notes.from_columns(np.arange(9.0), np.full(9, 0.5), np.full(9, 60), np.full(9, 64))
    write_samples(tmp_path / "samples.h5", Samples({(0, 0): notes}))
    return tmp_path / "samples.h5"


def claim(path: Path) -> Path:
    """Let a file claim 50 GB, of which the disk holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.truncate(50 * 10**9)
    return path


@pytest.mark.parametrize(
    "read",
    [
        read_json,
        read_samples,
        read_target_file,
        load_corpus,
        file_digest,
        baseline_file.read,
        read_sealed,
        lambda path: Run(seed=0, budget=Budget(epochs=1), folder=path.parent).begin(1),
    ],
)
def test_a_file_of_any_kind_is_refused_for_its_size_before_it_is_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises((BenchError, DamagedFileError), match=r"history\.jsonl has 50,000,000,000 bytes, and may have"):
        read(claim(tmp_path / "history.jsonl"))


def test_an_outcome_of_any_size_costs_its_own_trial(run: RunFolder) -> None:
    claim(run.trial_dir("k") / "outcome.json")
    assert run.outcome("k") is None
    assert run.fault("k", ()) == "outcome.json is damaged"


def test_columns_outside_of_the_file_are_refused(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(9))
    with edited(samples) as file:
        del file["pitch"]
        file.create_dataset("pitch", (9,), np.uint8, external=[(str(tmp_path / "secret.bin"), 0, 9)])
    with pytest.raises(DamagedError, match="pitch is no data of this file"):
        read_samples(samples)


def test_links_and_virtual_columns_are_refused(samples: Path, tmp_path: Path) -> None:
    with edited(samples) as file:
        file["more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/pitch")
    with pytest.raises(DamagedError, match="more is a link"):
        read_samples(samples)
    with edited(samples) as file:
        del file["more"]
        layout = h5py.VirtualLayout((9,), np.uint8)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "pitch", (9,))
        file.create_virtual_dataset("more", layout)
    with pytest.raises(DamagedError, match="more is no data of this file"):
        read_samples(samples)


def test_a_column_that_claims_more_than_its_file_holds_is_refused(samples: Path) -> None:
    with edited(samples) as file:
        del file["pitch"]
        file.create_dataset("pitch", (10**12,), np.uint8, chunks=(1024,))
    with pytest.raises(DamagedError, match="claims 1000000000000 bytes"):
        read_samples(samples)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_a_refusal_of_the_system_is_no_damage(
    run: RunFolder, samples: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, limit: int) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("bench.storage.files.read_file", refuse)
    monkeypatch.setattr("bench.system.disk.read_file", refuse)
    (run.path / "trials" / "k").mkdir(parents=True)
    (run.path / "trials" / "k" / "outcome.json").touch()
    with pytest.raises(MachineError):
        run.outcome("k")
    with pytest.raises(MachineError):
        stored_samples.read_samples(samples)


@given(at=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_record_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    write_json(path, {"format": FORMAT, "value": [1.5, "ä"]})
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_json(path)
