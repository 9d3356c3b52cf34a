"""What no module foresaw still ends in a message, never in a traceback."""

import errno
import os
from pathlib import Path

import pytest

from bench.cli import app
from bench.cli.output import INCOMPLETE


def test_an_error_of_the_system_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/run.json")

    monkeypatch.setattr(app, "app", full)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == INCOMPLETE  # 1 would say that something is worse
    said = "error: There is no room left on the disk for /full/run.json.\nMake room, or give another place with --out DIR; "
    assert capsys.readouterr().err == f"{said}what is finished is kept.\n"


def test_a_spec_that_meets_one_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[str] = []

    def full(console: object, quiet: bool, spec: str, **_: object) -> None:
        started.append(spec)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bench.cli.run._run", full)
    monkeypatch.setattr("bench.specs.scales.choose_scale", lambda scale: ("gpu", "asked for"))
    monkeypatch.setattr("sys.argv", ["bench", "all", "--quiet", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == INCOMPLETE
    assert len(started) > 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said == [f"error: {name}: There is no room left on the disk." for name in started]
