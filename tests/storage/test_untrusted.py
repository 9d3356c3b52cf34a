"""A run folder that someone else made: it shows and changes nothing outside of itself, and hangs nothing."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import secrets
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.api import Budget, Run
from bench.errors import BenchError, DataError, MachineError
from bench.formatting import LONGEST_FIELD
from bench.gate import baseline_file
from bench.music.notes import COLUMNS, Notes
from bench.report import write_reports
from bench.storage import samples as stored_samples
from bench.storage.arrays import MOST_PIECES, write_arrays
from bench.storage.corpus import load_corpus
from bench.storage.files import FORMAT, DamagedError, json_bytes, read_json, write_json
from bench.storage.outcome import MOST_RESULTS, OUTCOME, Done, Failed, Training
from bench.storage.records import MOST_TRIALS
from bench.storage.run_folder import RunFolder
from bench.storage.samples import (
    PieceName,
    Samples,
    Target,
    Targets,
    read_samples,
    read_target_file,
    write_samples,
    write_targets,
)
from bench.system.disk import HEADER, DamagedFileError, file_digest, open_log, read_file, read_sealed, write_file, write_sealed
from tests.storage.sealed import edited, resealed
from tests.storage.test_records import DONE, RUN


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    write_json(run.run_file, RUN)
    return run


@pytest.mark.parametrize("place", [".lock", "trials", "midi", "midi/target-000.mid", "history.tmp"])
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


@pytest.mark.parametrize("place", ["k", "k/samples.npz", "k/checkpoint", "k/outcome.json", "k/midi"])
def test_a_link_in_a_trials_folder_fails_that_trial(run: RunFolder, tmp_path: Path, place: str) -> None:
    (tmp_path / "mine").mkdir()
    link = run.path / "trials" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "mine")
    run.read()
    outcome = run.outcome("k")
    assert isinstance(outcome, Failed)
    assert f"trials/{place} is a link" in outcome.error.reason
    assert not run.is_done("k", [])
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_pipe_hangs_nothing(run: RunFolder) -> None:
    (run.path / "trials" / "k").mkdir(parents=True)
    os.mkfifo(run.path / "trials" / "k" / "outcome.json")
    failed = run.outcome("k")
    assert isinstance(failed, Failed)
    assert "neither a file nor a folder" in failed.error.reason
    with pytest.raises(DamagedFileError, match="not a file of its own"):
        read_file(run.path / "trials" / "k" / "outcome.json", 100)


def test_a_second_name_of_another_file_is_not_appended_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    os.link(mine, tmp_path / "stderr.log")
    with open_log(tmp_path / "stderr.log") as log:
        log.write(b" and new")
    assert mine.read_text() == "of the user"
    assert (tmp_path / "stderr.log").read_text() == "of the user and new"  # a backup by hard links costs no log
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


@pytest.mark.parametrize("key", ["../../mine", "/etc", ".", "", "a/b", "k" * 200, "a\0b", "a\nb", "a\n", "a b", "\u00e9"])
def test_a_key_leads_nowhere_else(run: RunFolder, key: str) -> None:
    write_json(run.run_file, RUN | {"trials": [{"key": key, "trial": RUN["trials"][0]["trial"]}]})
    with pytest.raises(DataError, match=r"trials\.0\.key"):
        run.read()


def test_folders_without_end_cost_their_trial(run: RunFolder) -> None:
    place = run.trial_dir(RUN["trials"][0]["key"])
    place.mkdir(parents=True)
    descriptor = os.open(place, os.O_RDONLY)
    for _ in range(40):  # 10,000 characters: no call takes a path of that length
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    outcome = run.outcome(RUN["trials"][0]["key"])
    assert isinstance(outcome, Failed)
    assert "nested more than 8 deep" in outcome.error.reason


def test_a_key_occurs_once(run: RunFolder) -> None:
    trial = RUN["trials"][0]["trial"]
    write_json(run.run_file, RUN | {"trials": [{"key": "k", "trial": trial | {"seed": seed}} for seed in range(3000)]})
    with pytest.raises(DataError, match="trials: value error, a key occurs twice"):
        run.read()
    write_json(run.run_file, RUN | {"trials": [{"key": str(number), "trial": trial} for number in range(MOST_TRIALS + 1)]})
    with pytest.raises(DataError, match="trials: tuple should have at most 65536 items"):
        run.read()


def test_a_trial_has_so_many_files_at_most() -> None:
    """Each is read and compared; a trial writes 68 at most: its samples, those of 64 stages, and 3 MIDI files."""
    names = [f"stages/{number}.npz" for number in range(MOST_RESULTS + 1)]
    assert len(Done.model_validate(DONE | {"digests": dict.fromkeys(names[1:], "0" * 64)}).digests) == MOST_RESULTS
    with pytest.raises(ValidationError, match="it has 1,025 files, and may have 1,024"):
        Done.model_validate(DONE | {"digests": dict.fromkeys(names, "0" * 64)})


def test_nesting_is_bounded(run: RunFolder) -> None:
    text = json_bytes(RUN | {"spec": RUN["spec"] | {"extra": "deep"}}).decode()
    run.run_file.write_bytes(resealed(text.replace('"deep"', 900 * "[" + 900 * "]")))
    with pytest.raises(DataError, match="nested more than 50 deep"):
        write_reports(run.path)
    with pytest.raises(DataError, match="can't be stored: it is nested more than 50 deep"):
        json_bytes({"spec": json.loads(60 * "[" + 60 * "]")})


#: Seven megabytes of JSON that would be 200 MB of objects, and packed take some kilobytes.
ENDLESS = f"[{'{},' * ((1 << 21) + 1)}{{}}]"


def test_names_that_tables_repeat_are_shortened(run: RunFolder) -> None:
    """20 kB of a run of others were 409 MB as CSV, and a megabyte all memory; a finished run of one's own is never refused."""
    value = read_json(run.path / "run.json")
    value |= {"scale": "s" * 5000, "dataset": value["dataset"] | {"title": "t" * 5000, "license": "l" * 5000}}
    value["provenance"]["machine"] = {"cpu": "c" * 5000}
    write_json(run.path / "run.json", value)
    record = run.read()
    found = (record.scale, record.dataset.title, record.dataset.license, record.provenance.machine.cpu or "")
    assert {len(text) for text in found} == {1000}


def test_names_of_pieces_and_reasons_are_cut(run: RunFolder) -> None:
    assert len(PieceName(0, "x" * 10**6, "y" * 10**6, "z" * 10**6).id) == LONGEST_FIELD
    value = read_json(run.path / "run.json")
    value["dataset"]["skipped"] = [{"source": "x" * 10**5, "reason": "1 " * 10**5}]
    write_json(run.path / "run.json", value)
    (file,) = run.read().dataset.skipped
    assert {len(text) for text in file.values()} == {300}


def test_the_values_of_a_record_are_counted_before_any_is_made(run: RunFolder) -> None:
    text = json_bytes(RUN | {"spec": RUN["spec"] | {"extra": "endless"}}).decode()
    run.run_file.write_bytes(resealed(text.replace('"endless"', ENDLESS)))
    tracemalloc.start()
    with pytest.raises(DamagedError, match=r"has about 4,19\d,\d{3} values, and may have 4,194,304 at most"):
        run.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(ENDLESS)
    with pytest.raises(DataError, match=r"can't be stored: it has about 4,19\d,\d{3} values"):
        json_bytes({"pieces": [0] * ((1 << 22) + 1)})


def test_the_values_of_targets_facts_are_counted_before_any_is_made(tmp_path: Path) -> None:
    file, note = tmp_path / "targets.npz", Notes.from_columns([0.0], [0.5], [60], [80])
    targets = Targets((Target(PieceName(0, "a"), note, note),), 1, 1, {"remarks": "endless"})
    write_targets(file, targets)
    with edited(file) as arrays:
        content = arrays["facts"].tobytes().replace(b'"endless"', ENDLESS.encode())
        arrays["facts"] = np.frombuffer(content, np.uint8)
    tracemalloc.start()
    with pytest.raises(DamagedError, match=r"has about 4,19\d,\d{3} values, and may have 4,194,304 at most"):
        read_target_file(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(content)
    with pytest.raises(DataError, match="names and titles can't be stored: it has about"):
        write_targets(file, replace(targets, facts={"pieces": [0] * ((1 << 22) + 1)}))


def test_targets_are_counted_before_any_is_made(tmp_path: Path) -> None:
    """A million without notes are packed in 19 kB, and took 1.3 GB."""
    file, note = tmp_path / "targets.npz", Notes.from_columns([0.0], [0.5], [60], [80])
    write_targets(file, Targets((Target(PieceName(0, "a"), note, note),), 1, 1, {}))
    offsets = np.repeat(np.arange(2), (1, 1 << 18))
    with edited(file) as arrays:
        arrays["prompt_offsets"] = arrays["target_offsets"] = offsets
    tracemalloc.start()
    with pytest.raises(DamagedError, match="has 262144 pieces, expected 1"):
        read_target_file(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * offsets.nbytes


def test_targets_facts_are_nested_no_deeper_than_a_record(tmp_path: Path) -> None:
    file, note = tmp_path / "targets.npz", Notes.from_columns([0.0], [0.5], [60], [80])
    write_targets(file, Targets((Target(PieceName(0, "a"), note, note),), 1, 1, {"deep": json.loads(60 * "[" + 60 * "]")}))
    with pytest.raises(DamagedError, match="nested more than 50 deep"):
        read_target_file(file)


STAGE = {"share": 0.25, "updates": 1, "notes": 1, "seconds": 1.0}


@pytest.mark.parametrize(
    ("part", "of"),
    [
        ([STAGE] * 2, Done),
        ([{**STAGE, "share": i / 100} for i in range(1, 66)], Done),
        ([{**STAGE, "share": 1.5}], Done),
        ([{"fold": 1}] * 2, Training),
        ([{"fold": i} for i in range(1, MOST_TRIALS + 2)], Training),
        ([{"stopped": "budget"}], Training),
    ],
)
def test_stages_and_folds_are_there_once(part: list[dict[str, object]], of: type[Done | Training]) -> None:
    """Each is read, scored and drawn by itself: 300 kB of one stage again and again took five minutes."""
    name = "stages" if of is Done else "folds"
    with pytest.raises(ValidationError) as caught:
        of.model_validate({name: part})
    assert any(error["loc"][0] == name for error in caught.value.errors())


def test_targets_have_notes_and_are_not_endless(tmp_path: Path) -> None:
    file, note = tmp_path / "targets.npz", Notes.from_columns([0.0], [0.5], [60], [80])
    none = Notes.concatenate([])
    write_targets(file, Targets((Target(PieceName(0, "a"), none, note), Target(PieceName(1, "b"), none, none)), 2, 2))
    with pytest.raises(DataError, match="a target has no notes"):
        read_target_file(file)
    many = Targets((Target(PieceName(0, "a"), none, note),) * (stored_samples.MOST_TARGETS + 1), 1, 1)
    with pytest.raises(DataError, match="A run can hold 65,536 held-out pieces, not 65,537"):
        write_targets(file, many)


def test_more_targets_than_any_run_has_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, note = tmp_path / "targets.npz", Notes.from_columns([0.0], [0.5], [60], [80])
    write_targets(file, Targets((Target(PieceName(0, "a"), note, note),) * 3, 3, 3))
    monkeypatch.setattr(stored_samples, "MOST_TARGETS", 2)
    with pytest.raises(DataError, match="it has more than 2 targets"):
        read_target_file(file)


@pytest.mark.parametrize(
    ("prompt", "notes", "found"),
    [(0, 5, "5 notes after a prompt of 0"), (1, 4, "4 notes after a prompt of 1"), (0, 1, "1 notes after a prompt of 0")],
)
def test_targets_have_the_notes_of_the_protocol(run: RunFolder, prompt: int, notes: int, found: str) -> None:
    """A file of 25 kB held half a million in one target, whose MIDI took half a minute to write; a larger one takes hours."""
    parts = [
        Notes.from_columns(np.arange(float(n)), np.full(n, 0.5), np.full(n, 60), np.full(n, 64)) for n in (0, 4, prompt, notes)
    ]
    right, wrong = (Target(PieceName(i, name), *parts[2 * i : 2 * i + 2]) for i, name in enumerate("ab"))
    write_targets(run.targets, Targets((right,), 1, 1))
    assert len(run.read_targets().targets[0].target) == 4
    write_targets(run.targets, Targets((right, wrong), 2, 2))
    with pytest.raises(DamagedError, match=f"'b' has {found}; expected 4 after 0, the protocol of run.json"):
        run.read_targets()


@pytest.mark.parametrize("part", ["prompt", "notes"])
def test_a_protocol_asks_for_no_more_notes_than_any_run(run: RunFolder, part: str) -> None:
    write_json(run.run_file, RUN | {"spec": RUN["spec"] | {"protocol": {"notes": 4, part: 100_001}}})
    with pytest.raises(DamagedError, match=rf"protocol\.{part}: input should be less than or equal to 100000"):
        run.read()


@pytest.mark.parametrize("name", ["../../../mine", "/etc/passwd", "outcome.json", "midi/../../x"])
def test_an_outcome_vouches_only_for_its_own_files(name: str) -> None:
    with pytest.raises(ValueError, match="no file of a trial"):
        OUTCOME.validate_python(DONE | {"digests": {name: "0" * 64}})


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    notes = Notes.from_columns(np.arange(9.0), np.full(9, 0.5), np.full(9, 60), np.full(9, 64))
    write_samples(tmp_path / "samples.npz", Samples({(0, 0): notes}))
    return tmp_path / "samples.npz"


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


def test_no_library_of_c_parses_a_file(samples: Path) -> None:
    """HDF5, which they were until format 3, crashes at some files."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["pitch"] = [60]
    write_sealed(samples, memory.getvalue())
    with pytest.raises(DamagedError, match="it is no archive of arrays"):
        read_samples(samples)


def archive(path: Path, *parts: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write any archive with the checksum that fits."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as opened:
        for name, content in parts:
            opened.writestr(name, content)
    write_sealed(path, memory.getvalue())


def claiming(path: Path, unpacked: int) -> None:
    """Let the directory claim another size of the first part."""
    content = bytearray(read_sealed(path))
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = unpacked.to_bytes(4, "little")
    write_sealed(path, bytes(content))


@pytest.mark.parametrize("size", [(1 << 32) - 2, 200 << 20])
def test_a_part_that_claims_more_than_a_file_or_its_own_can_hold_is_not_unpacked(samples: Path, size: int) -> None:
    archive(samples, ("pitch.npy", bytes(1000)))
    claiming(samples, size)
    with pytest.raises(DamagedError, match=f"it claims {size:,} bytes"):
        read_samples(samples)


def test_a_part_is_unpacked_no_further_than_it_claims(samples: Path) -> None:
    archive(samples, ("pitch.npy", bytes(100 << 20)))
    claiming(samples, 100)
    tracemalloc.start()
    with pytest.raises(DamagedError):
        read_samples(samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_an_archive_of_many_parts_is_refused_before_its_directory_is_read(samples: Path) -> None:
    archive(samples, *((f"{number}.npy", b"") for number in range(1000)))
    with pytest.raises(DamagedError, match="too many parts"):
        read_samples(samples)


def test_a_large_archives_own_directory_is_bounded_too(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_samples(samples)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    write_samples(samples, before)
    assert b"PK\6\7" in samples.read_bytes()
    assert read_samples(samples).notes == before.notes
    archive(samples, *((f"{number}.npy", b"") for number in range(1000)))
    with pytest.raises(DamagedError, match="too many parts"):
        read_samples(samples)


_NPY = b"\x93NUMPY\x01\x00\x46\x00{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n%s"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_NPY % (b"|u1", b"9,", bytes(8)), "doesn't have the size"),
        (_NPY % (b"|u1", b"9" * 50 + b",", bytes(9)), "doesn't have the size"),
        (_NPY % (b"<f9", b"1,", bytes(9)), "can't be read"),
        (_NPY % (b"|u1", b"0, " + b"9" * 50, b""), "can't be read"),
        (_NPY % (b"<f8", b"9,", bytes(72)), "pitch holds something else"),
        (_NPY % (b"|u1", b"3, 3", bytes(9)), "pitch holds something else"),
        (_NPY % (b"|u1", b"", b"\0"), "pitch holds something else"),
        (_NPY % (b"|O", b"1,", pickle.dumps([print])), "pitch is no array of numbers"),
        (_NPY % (b"|u1", b"-" * 60, bytes(9)), "pitch is no array of numbers"),
        (b"", "pitch is no array of numbers"),
    ],
)
def test_a_part_that_is_no_column(samples: Path, content: bytes, message: str) -> None:
    with zipfile.ZipFile(samples) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()} | {"pitch.npy": content}
    archive(samples, *parts.items())
    with pytest.raises(DamagedError, match=message):
        read_samples(samples)


@pytest.mark.parametrize("name", ["pitch", "../pitch.npy", "\x1b[2J.npy", "a/b.npy"])
def test_a_part_of_another_name(samples: Path, name: str) -> None:
    archive(samples, (name, b""))
    with pytest.raises(DamagedError, match="a part that isn't an array"):
        read_samples(samples)


def test_a_part_that_another_method_packed(samples: Path) -> None:
    archive(samples, ("pitch.npy", bytes(100)), compression=zipfile.ZIP_LZMA)
    with pytest.raises(DamagedError, match="packed in another way"):
        read_samples(samples)


def test_more_pieces_than_the_memory_has_room_for_are_refused(samples: Path) -> None:
    with edited(samples) as arrays:
        for name in COLUMNS:
            arrays[name] = arrays[name][:0]
        arrays["offsets"] = np.zeros(MOST_PIECES + 2, np.int64)
    with pytest.raises(DamagedError, match="more than 1,048,576"):
        read_samples(samples)


def test_more_than_can_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would hold 1,000 bytes, and may hold 999 at most"):
        write_arrays(tmp_path / "a.npz", {"a": np.zeros(1000, np.uint8)}, 999)
    assert list(tmp_path.iterdir()) == []


def test_other_programs_read_the_arrays_behind_the_checksum(samples: Path) -> None:
    with samples.open("rb") as file:
        file.seek(HEADER)
        with np.load(file) as arrays:
            assert arrays["pitch"].tolist() == [60] * 9


def test_the_same_samples_give_the_same_bytes(samples: Path) -> None:
    before = samples.read_bytes()
    write_samples(samples, read_samples(samples))
    assert samples.read_bytes() == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_a_refusal_of_the_system_is_no_damage(
    run: RunFolder, samples: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *_: object) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("bench.system.disk._read", refuse)
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
