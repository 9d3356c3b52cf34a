"""Event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import io
import shutil
import tracemalloc
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bench.errors import DataError, MachineError
from bench.export.contents import Evaluation, RunContents, read_contents
from bench.export.tensorboard import SUFFIX, export
from bench.report import write_reports
from bench.sound.clips import EXCERPT, Source, render_run, sources
from bench.sound.synthesizer import find_synthesizer
from bench.storage.files import read_json, write_json
from bench.system.disk import file_digest
from tests.sound.sample_run import run_with_midi

from .conftest import odd_run

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install 'midibench[tensorboard]'")
accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="TensorBoard is not installed: pip install 'midibench[tensorboard]'",
)


def read(folder: Path) -> Any:
    reader = accumulators.EventAccumulator(str(folder), size_guidance={accumulators.AUDIO: 0, accumulators.SCALARS: 0})
    reader.Reload()
    return reader


def test_a_folder_for_each_trial(run: RunContents, tmp_path: Path) -> None:
    assert export(run, tmp_path / "logs").place == str(tmp_path / "logs" / "table2-cpu")
    names = {file.parent.relative_to(tmp_path / "logs").as_posix() for file in (tmp_path / "logs").glob(f"**/*{SUFFIX}")}
    assert names == {"table2-cpu", *(f"table2-cpu/{trial.name}" for trial in run.trials)}


def test_scalars(run: RunContents, tmp_path: Path) -> None:
    export(run, tmp_path)
    lstm = read(tmp_path / "table2-cpu" / "lstm, seed 1")
    bits = lstm.Scalars("training/validation_bits")
    assert [(event.step, event.value, event.wall_time) for event in bits] == [
        (1, 13.0, 1735787075.0),
        (2, 12.0, 1735787105.0),
    ]
    (score,) = lstm.Scalars("scores/pitch_distance")
    assert (score.step, score.value) == (2, 10.0)
    (reference,) = read(tmp_path / "table2-cpu" / "real, seed 0").Scalars("scores/pitch_distance")
    assert reference.value == 12.0


def test_hyperparameters(run: RunContents, tmp_path: Path) -> None:
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    export(run, tmp_path)
    content = read(tmp_path / "table2-cpu" / "lstm, seed 1").PluginTagToContent("hparams")
    start = plugin.HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["system"].string_value == "lstm"
    assert start.hparams["seed"].number_value == 1.0
    assert "_hparams_/session_end_info" in content


def test_texts(run: RunContents, tmp_path: Path) -> None:
    export(run, tmp_path)
    (report,) = read(tmp_path / "table2-cpu").Tensors("report/text_summary")
    assert report.tensor_proto.string_val[0].decode().startswith("# Table 2 on four notes")
    (error,) = read(tmp_path / "table2-cpu" / "gan, seed 1").Tensors("error/text_summary")
    assert error.tensor_proto.string_val[0] == b"out of memory; peak was 900 MiB"


def test_sound(tmp_path: Path) -> None:
    folder = run_with_midi(tmp_path / "run")
    render_run(folder, find_synthesizer())
    write_reports(folder)
    export(read_contents(folder), tmp_path / "logs")
    for name in ("run", "run/lstm, seed 0", "run/gan, seed 0"):
        clips = read(tmp_path / "logs" / name)
        assert clips.Tags()["audio"] == ["piece 000", "piece 001"], name
        (clip,) = clips.Audio("piece 000")
        assert (clip.content_type, clip.sample_rate, clip.encoded_audio_string[:4]) == ("audio/wav", 24_000.0, b"RIFF")
    assert read(tmp_path / "logs" / "run" / "lstm, seed 1").Tags()["audio"] == []


def replaced(folder: Path, seconds: float, **form: str) -> Source:
    """A run whose first excerpt is silence in another form, with a record that agrees."""
    render_run(folder, find_synthesizer())
    write_reports(folder)
    source = next(source for source in sources(folder) if source.original)
    with soundfile.SoundFile(source.excerpt, "w", 24_000, 1, **form) as file:
        file.write(np.zeros(round(seconds * 24_000), np.int16))
    digests = [file_digest(source.mp3), file_digest(source.excerpt)]
    write_json(source.record, {**read_json(source.record), "digests": digests, "excerpt_seconds": 3600.0})
    return source


def test_sound_that_is_no_mp3_is_not_unpacked(tmp_path: Path) -> None:
    folder = run_with_midi(tmp_path / "run")
    replaced(folder, 600.0, format="FLAC")
    run = read_contents(folder)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"piece-000\.excerpt\.mp3 is no MP3"):
        export(run, tmp_path / "logs")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20  # ten minutes are 58 MB


def test_no_more_sound_than_an_excerpt_has(tmp_path: Path) -> None:
    folder = run_with_midi(tmp_path / "run")
    replaced(folder, 60.0, format="MP3")
    export(read_contents(folder), tmp_path / "logs")
    clip = read(tmp_path / "logs" / "run").Audio("piece 000")[0]
    with wave.open(io.BytesIO(clip.encoded_audio_string)) as sound:
        assert sound.getnframes() / sound.getframerate() == EXCERPT


def test_names_and_numbers_that_it_does_not_take(tmp_path: Path) -> None:
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    export(odd_run(tmp_path / "run"), tmp_path / "logs")
    content = read(tmp_path / "logs" / "run" / "odd \ufffd, seed 0").PluginTagToContent("hparams")
    start = plugin.HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["size"].string_value == str(10**40)
    assert (start.hparams["system"].string_value, start.hparams["\ufffd"].number_value) == ("odd \ufffd", 1.0)


def test_what_it_refuses_is_told(run: RunContents, tmp_path: Path) -> None:
    late = replace(run.trials[0], history=(Evaluation(1 << 64, 1.0, {"training/loss": 1.0}),))
    with pytest.raises(MachineError, match="tensorboardX refused: "):
        export(replace(run, trials=(late,)), tmp_path / "logs")


def test_twice_is_once_and_other_files_stay(run: RunContents, folder: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    export(run, logs)
    other = logs / "table2-cpu" / "events.out.tfevents.1.somebody"
    other.write_bytes(b"")
    before = sorted(file.parent for file in logs.glob(f"**/*{SUFFIX}"))
    export(run, logs)
    assert sorted(file.parent for file in logs.glob(f"**/*{SUFFIX}")) == before
    assert other.exists()
    assert len(read(logs / "table2-cpu" / "lstm, seed 1").Scalars("training/loss")) == 2
    shutil.rmtree(folder / "trials" / "gan-1")
    export(read_contents(folder), logs)  # of a trial that is gone, nothing stays
    assert not list((logs / "table2-cpu" / "gan, seed 1").glob(f"*{SUFFIX}"))
