"""The command line called in this process, which saves a start of Python and its imports for each command."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest

from bench.cli.app import main


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment without a GPU and without any of bench's variables but those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_") and k not in ("COLUMNS", "FORCE_COLOR")}
    return {**clean, "CUDA_VISIBLE_DEVICES": "", **variables}


def bench(folder: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `bench` in `folder` up to the exit code that it leaves; its workers are still processes."""
    words, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(variables), clear=True),
        mock.patch.object(sys, "argv", ["bench", *words]),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ending,
    ):
        main()
    return subprocess.CompletedProcess(words, ending.value.code or 0, out.getvalue(), err.getvalue())
