"""Small runs with MIDI files, and programs that misbehave."""

import os
from pathlib import Path

import pytest

from bench.music.midi import midi_bytes
from bench.music.notes import Notes
from bench.report import build_report
from bench.scoring.score import score_run
from bench.sound.synthesizer import DEBIAN, Missing, Renderer, find_renderer
from bench.storage.records import Done
from bench.storage.run_folder import RunFolder
from bench.storage.samples import read_targets
from tests.report.stored_run import example, notes

FOUND = find_renderer()
needs_sound = pytest.mark.skipif(
    isinstance(FOUND, Missing), reason=f"{FOUND.what if isinstance(FOUND, Missing) else ''}; {DEBIAN} timidity"
)

#: Six seconds: three chords, loud, soft, loud.
CHORDS = Notes.from_columns([0, 0, 2, 2, 4, 4], [1.5] * 6, [60, 64, 55, 62, 48, 67], [100, 100, 30, 30, 90, 90])


def program(folder: Path, name: str, script: str) -> str:
    """An executable that does what the script says."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def fake(tmp_path: Path, synthesizer: str = "exit 0", ffmpeg: str = "exit 0") -> Renderer:
    font = tmp_path / "font.sf2"
    font.touch()
    return Renderer("FluidSynth", program(tmp_path, "synth", synthesizer), program(tmp_path, "mpeg", ffmpeg), font)


def run_with_midi(folder: Path) -> Path:
    """The example run of the reports, with the MIDI files that a worker would have written."""
    example(folder)
    run = RunFolder(folder)
    (folder / "midi").mkdir()
    for piece, target in enumerate(read_targets(run.targets)):
        whole = Notes.concatenate([target.prompt, target.target.shifted(1.0)])
        (folder / "midi" / f"target-{piece:03}.mid").write_bytes(midi_bytes(whole))
        for key, trial in ((planned.key, planned.trial) for planned in run.read().trials):
            if not isinstance(run.outcome(key), Done):
                continue
            made = notes([70, 72, 74, 76], start=1.0)
            parts = [made] if trial["model"] == "gan" else [target.prompt, made]
            place = run.trial_dir(key) / "midi"
            place.mkdir(exist_ok=True)
            (place / f"piece-{piece:03}.mid").write_bytes(midi_bytes(Notes.concatenate(parts)))
    return folder


def report_of(folder: Path):
    return build_report(folder, score_run(folder))


def without_programs() -> dict[str, str]:
    return {**os.environ, "PATH": ""}
