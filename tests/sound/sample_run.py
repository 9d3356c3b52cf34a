"""Small runs with MIDI files."""

from pathlib import Path

import pytest

from bench.music.midi import midi_bytes
from bench.music.notes import Notes
from bench.report import build_report
from bench.scoring.score import score_run
from bench.sound.synthesizer import Synthesizer, find_synthesizer
from bench.storage.outcome import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import read_targets
from tests.report.stored_run import example, notes

#: Six seconds: three chords, loud, soft, loud.
CHORDS = Notes.from_columns([0, 0, 2, 2, 4, 4], [1.5] * 6, [60, 64, 55, 62, 48, 67], [100, 100, 30, 30, 90, 90])

SYNTHESIZER = find_synthesizer({})


@pytest.fixture
def damaged(tmp_path: Path) -> Synthesizer:
    """A SoundFont that isn't one."""
    return Synthesizer(tmp_path / "damaged.sf2", b"no SoundFont")


def run_with_midi(folder: Path) -> Path:
    """The example run of the reports, with the MIDI files that a worker would have written."""
    example(folder)
    run = RunFolder(folder)
    (folder / "midi").mkdir()
    for piece, target in enumerate(read_targets(run.targets)):
        original = Notes.concatenate([target.prompt, target.target])
        (folder / "midi" / f"target-{piece:03}.mid").write_bytes(midi_bytes(original))
        for key, trial in ((planned.key, planned.trial) for planned in run.read().trials):
            if not isinstance(run.outcome(key), Done):
                continue
            sample = notes([70, 72, 74, 76], start=1.0)
            parts = [sample] if trial["model"] == "gan" else [target.prompt, sample]
            place = run.trial_dir(key) / "midi"
            place.mkdir(exist_ok=True)
            (place / f"piece-{piece:03}.mid").write_bytes(midi_bytes(Notes.concatenate(parts)))
    return folder


def report_of(folder: Path):
    return build_report(folder, score_run(folder))
