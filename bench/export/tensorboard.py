"""A run in TensorBoard: event files, a folder for each trial, which TensorBoard calls a run.

====================  ========================================================================================================
``RUN``               the report's text; the original music, if the run has sound
``RUN/ROW, seed N``   ``training/NAME`` by the number of the evaluation; ``scores/COLUMN`` once, at the last of them;
                      hyperparameters for the table of HParams; with the first seed of a model, its music
====================  ========================================================================================================

What an earlier export wrote, told by the end of its files' names, is replaced.
"""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.export.contents import Exported, Param, RunContents, TrialContents, failures_of, optional
from bench.report.markdown import report_markdown
from bench.sound.clips import EXCERPT, Source, sources, stored_clip
from bench.sound.synthesizer import in_a_thread
from bench.system.disk import MOST_RESULT, read_file

#: End of the names of our event files.
SUFFIX = ".midibench"


def export(run: RunContents, place: Path) -> Exported:
    """Write a run's event files.

    Parameters
    ----------
    run : RunContents
    place : Path
        TensorBoard's log folder, which may hold other runs.

    Raises
    ------
    UsageError
        If tensorboardX is not installed.
    DataError
        If a clip is no MP3.
    MachineError
        If tensorboardX refuses.
    """
    writer = optional("tensorboardX", "tensorboard").SummaryWriter
    folder = place / run.name
    with failures_of("tensorboardX", "Was the run's folder changed by hand? --to csv takes any name and number."):
        for file in folder.glob(f"**/events.out.tfevents.*{SUFFIX}"):
            file.unlink()
        sound = sources(run.report.folder)
        _write(writer, folder, run, None, [source for source in sound if source.original])
        heard: set[str] = set()
        for trial in run.trials:
            own = [source for source in sound if source.system == trial.system and not source.original]
            first = trial.status == "done" and trial.system not in heard
            heard |= {trial.system} if first else set()
            _write(writer, folder / _folder_name(trial.name), run, trial, own if first else [])
    return Exported(str(folder), f"tensorboard --logdir {shlex.quote(str(place))}")


def _write(writer: Any, folder: Path, run: RunContents, trial: TrialContents | None, sound: list[Source]) -> None:
    """Write one event file: of a trial, or of the run as a whole."""
    with writer(str(folder), filename_suffix=SUFFIX) as events:
        if trial is None:
            events.add_text("report", report_markdown(run.report), 0, walltime=run.started)
        else:
            _write_trial(events, trial, run.started)
        for source in sound:
            _write_sound(events, source, run.started)


def _write_trial(events: Any, trial: TrialContents, started: float) -> None:
    from tensorboardX.summary import hparams

    for evaluation in trial.history:
        for name, value in evaluation.values.items():
            events.add_scalar(name, value, evaluation.step, walltime=started + evaluation.seconds)
    last = max((evaluation.step for evaluation in trial.history), default=0)
    for name, value in trial.scores.items():
        events.add_scalar(f"scores/{name}", value, last, walltime=started + trial.seconds)
    # The writer's own method would put them into a run of their own, beside the trial's. Without the first part, a list of all
    # columns, TensorBoard collects the columns of all trials; of several lists it would take one.
    _, start, end = hparams({name: _number(value) for name, value in trial.params.items()}, {})
    events.file_writer.add_summary(start, walltime=started)
    events.file_writer.add_summary(end, walltime=started + trial.seconds)
    if "error" in trial.tags:
        events.add_text("error", trial.tags["error"], last, walltime=started)


def _write_sound(events: Any, source: Source, started: float) -> None:
    """Add the report's excerpt of a piece, if it is rendered, as the WAV that TensorBoard plays."""
    import soundfile

    clip = stored_clip(source)
    if isinstance(clip, str):
        return
    # The folder may be someone else's: a megabyte of another format, such as FLAC, can hold hours of silence.
    damaged = DataError(f"{source.excerpt} is no MP3.", "Render the run's sound again: bench listen RUN.")
    content, seconds = read_file(source.excerpt, MOST_RESULT), min(clip.excerpt_seconds, EXCERPT)

    def read() -> tuple[NDArray[np.float32], int]:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.format != "MP3":
                raise damaged
            return file.read(round(seconds * file.samplerate), dtype="float32"), file.samplerate

    try:
        sound, rate = in_a_thread(read)
    except soundfile.LibsndfileError as error:
        raise damaged from error
    events.add_audio(f"piece {source.piece:03}", sound.clip(-1.0, 1.0), 0, rate, walltime=started)


def _number(value: Param) -> Param:
    """Write an integer beyond 64 bits, which tensorboardX refuses, as text."""
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value


def _folder_name(name: str) -> str:
    """Name of a trial's folder: TensorBoard shows it.

    >>> _folder_name("lstm dropout=0.1, seed 0")
    'lstm dropout=0.1, seed 0'
    """
    return re.sub(r"[/\\\0]", "-", name)
