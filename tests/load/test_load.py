"""Nothing leaks and nothing grows faster than the work: many rows, many files, many runs in one folder.

``BENCH_LOAD=full`` (``make load``) takes the sizes of a large study: 200 rows of 5 seeds, 100 000 files, 300 runs. By default the
sizes are a fiftieth, so that the same is held on every commit. Figures are printed: ``pytest -s``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.report import write_reports
from tests.faults.machine import TOY
from tests.report.stored_run import Stored, moved

ROOT = Path(__file__).resolve().parents[2]

FULL = os.environ.get("BENCH_LOAD") == "full"

#: A hundred thousand files take minutes to write alone.
pytestmark = pytest.mark.timeout(7200 if FULL else 600)


def test_a_report_of_many_rows(tmp_path: Path) -> None:
    n_rows, n_seeds = (200, 5) if FULL else (20, 2)
    stored = Stored(tmp_path / "run", seeds=list(range(n_seeds)))
    for row in range(n_rows):
        for seed in range(n_seeds):
            stored.add(f"row-{row:03}", seed, moved(row % 7), bits=12.0 + row / 100)
    folder = stored.close()
    write_reports(folder)  # fonts and templates are opened once
    open_before, start = psutil.Process().num_fds(), time.perf_counter()
    files = {path.name: path.read_text() for path in write_reports(folder).files}
    seconds = time.perf_counter() - start
    print(f"{n_rows} rows, {n_seeds} seeds: report in {seconds:.1f} s, page of {len(files['report.html']) / 2**20:.1f} MiB")
    assert all(f"row-{row:03}" in files["report.md"] for row in range(n_rows))
    assert psutil.Process().num_fds() == open_before


def test_memory_grows_with_the_notes_not_with_the_files(tmp_path: Path) -> None:
    sizes = (10_000, 100_000) if FULL else (200, 2_000)
    peaks = []
    for size in sizes:
        folder = tmp_path / f"{size}"
        write_files(folder, size)
        start = time.perf_counter()
        peaks.append(peak_of_a_run(folder, tmp_path / f"out-{size}"))
        print(f"{size} files: run in {time.perf_counter() - start:.1f} s, largest process {peaks[-1] / 2**20:.0f} MiB")
    # 16 notes a file are 288 bytes as columns; names, digests and objects come on top.
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 40_000


def write_files(folder: Path, number: int, notes: int = 40) -> None:
    """Write MIDI files, a hundred to a folder, no two alike."""
    for i in range(number):
        path = folder / f"{i // 100:04}" / f"{i:06}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(melody(np.random.default_rng(i), notes))


def melody(rng: np.random.Generator, notes: int) -> bytes:
    """A MIDI file of notes one after another: for each a note-on after 0 ticks and a note-off after 128 to 400."""
    ticks, pitch, velocity = (rng.integers(low, high, notes) for low, high in ((128, 400), (40, 80), (30, 100)))
    zero, two_bytes = np.zeros(notes, np.int64), (0x80 | ticks >> 7, ticks & 0x7F)
    events = [zero | 0x80, zero, zero | 0x90, pitch, velocity, *two_bytes, zero | 0x80, pitch, zero]
    track = np.stack(events, axis=1).astype(np.uint8).tobytes() + b"\0\xff\x2f\0"
    return b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big") + track


#: Reads a corpus as a worker does, with all its notes, and prints seconds to load, and the process's peak memory in KiB.
LOADED = """\
import resource, sys, time
from pathlib import Path
from bench.storage.corpus import load_corpus
start = time.perf_counter()
corpus = load_corpus(Path(sys.argv[1]))
seconds = time.perf_counter() - start
assert max(int(piece.notes.pitch.max()) for piece in corpus.train) == 79
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_no_process_holds_a_corpus(tmp_path: Path) -> None:
    """Those that parse and those that read: what they hold grows with the number of pieces, not with their notes."""
    # What all processes hold for any corpus, such as room for the patterns that are sorted at once, is full from 10,000 on.
    sizes = (10_000, 100_000) if FULL else (200, 1_400)
    run_peaks, load_peaks = [], []
    for size in sizes:
        folder, out = tmp_path / f"{size}", tmp_path / f"out-{size}"
        write_files(folder, size, 1000)
        start = time.perf_counter()
        run_peaks.append(peak_of_a_run(folder, out))
        cold = time.perf_counter() - start
        start = time.perf_counter()
        again = peak_of_a_run(folder, out)
        warm = time.perf_counter() - start
        (corpus,) = (out / "cache" / "corpora").glob("*.npy")
        done = subprocess.run([sys.executable, "-c", LOADED, str(corpus)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        load_peaks.append(int(done.stdout.split()[1]) * 1024)
        print(
            f"{size} files of 1000 notes: run {cold:.1f} s and again {warm:.1f} s, largest process "
            f"{run_peaks[-1] / 2**20:.0f} and {again / 2**20:.0f} MiB; corpus loaded in {float(done.stdout.split()[0]):.2f} s"
        )
    # The columns alone are 18,000 bytes a piece; names, digests and objects are a few thousand, and the median needs one column.
    assert (run_peaks[-1] - run_peaks[0]) / (sizes[-1] - sizes[0]) < 9_000
    assert (load_peaks[-1] - load_peaks[0]) / (sizes[-1] - sizes[0]) < 9_000


def peak_of_a_run(data: Path, out: Path) -> int:
    """Run one reference row on a folder of music; most memory that one of its processes has of its own, bytes.

    What is mapped from files isn't counted: the system takes it back when it needs it.
    """
    spec = {**TOY, "dataset": {"name": "folder"}, "models": {}, "references": ["median"]}
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "bench", "run", str(file), "--data", str(data), "--out", str(out), "--scale", "cpu", "-q"]
    environment = {**os.environ, "BENCH_CACHE": str(out / "cache")}
    most, end = 0, time.monotonic() + (3600 if FULL else 300)
    with psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment) as run:
        while run.poll() is None:
            if time.monotonic() > end:
                run.kill()
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (run, *run.children(recursive=True)):
                    held = process.memory_info()
                    most = max(most, held.rss - held.shared)
            time.sleep(0.02)
        assert run.returncode == 0, run.stderr.read()
    return most


#: Growth of a process by what it imports late and keeps, bytes, and by each run.
LATE, A_RUN = 24 << 20, 64 << 10

#: Runs after which everything has been imported.
SETTLED = 3


def test_hundreds_of_short_runs_in_one_folder_leave_nothing_behind(tmp_path: Path) -> None:
    number = 300 if FULL else 8
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.soak", str(tmp_path), str(SETTLED + number)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=3600 if FULL else 300,
    )
    assert done.returncode == 0
    held = json.loads(done.stdout)
    for what in ("descriptors", "threads", "resident"):
        print(f"{number} runs: {what} {held[what][SETTLED - 1]} before, {held[what][-1]} after")
    assert set(held["descriptors"][SETTLED:]) == {held["descriptors"][SETTLED - 1]}
    assert set(held["threads"][SETTLED:]) == {held["threads"][SETTLED - 1]}
    assert held["children"] == []
    assert held["resident"][-1] - held["resident"][SETTLED - 1] < LATE + number * A_RUN
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not list(tmp_path.rglob(".*.tmp"))
