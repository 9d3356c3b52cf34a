"""`bench listen` as a user meets it."""

import functools

import pytest

from tests.cli import in_process
from tests.sound.sample_run import SYNTHESIZER, run_with_midi


@pytest.fixture
def call(tmp_path):
    run_with_midi(tmp_path / "reports" / "runs" / "table2-cpu")

    return functools.partial(in_process.bench, tmp_path, "listen")


def test_without_the_soundfont(call, tmp_path):
    answer = call("latest", BENCH_SOUNDFONT="/no/font.sf2")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert answer.stderr == (
        "error: The SoundFont /no/font.sf2 can't be read (No such file or directory); expected a General MIDI SoundFont (.sf2).\n"
        "Set BENCH_SOUNDFONT to one, or unset it.\n"
    )
    assert not (tmp_path / "reports" / "runs" / "table2-cpu" / "sound").exists()


def test_clips_that_fail(call, tmp_path):
    font = tmp_path / "font.sf2"
    font.write_text("no SoundFont")
    answer = call("latest", "--quiet", BENCH_SOUNDFONT=str(font))
    assert (answer.returncode, len(answer.stderr.splitlines())) == (3, 6)
    assert answer.stderr.startswith(f"original, Bach: Minuet: {font} can't be played")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "error: There is no run 'nothing'."),
        (["latest", "--systems", "lstn"], "error: The run has no row 'lstn'.\nDid you mean 'lstm'?"),
        (["latest", "--systems", ","], "error: --systems is ','; expected rows such as lstm,markov."),
    ],
)
def test_wrong_use(call, arguments, message):
    answer = call(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(message)


def test_it_says_where_the_clips_are(call, tmp_path):
    answer = call("table2-cpu", "--systems", "ngram")
    folder = tmp_path / "reports" / "runs" / "table2-cpu"
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == [
        SYNTHESIZER.description,
        f"original, Bach: Minuet: {folder / 'sound' / 'original' / 'piece-000.mp3'}",
        f"ngram, Bach: Minuet: {folder / 'sound' / 'ngram' / 'piece-000.mp3'}",
        f"original, b: {folder / 'sound' / 'original' / 'piece-001.mp3'}",
        f"ngram, b: {folder / 'sound' / 'ngram' / 'piece-001.mp3'}",
        str(folder / "report.html"),
    ]
    assert all((folder / "sound" / system / "piece-001.mp3").is_file() for system in ("original", "ngram"))
