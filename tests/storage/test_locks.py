"""Folders on a file system that has no locks: `flock` fails below a folder, in real processes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.storage.files import BusyError, hold
from tests.cli.in_process import environment

#: Preloaded: below $NO_LOCKS_BELOW, flock fails with $NO_LOCKS_ERROR.
SOURCE = """\
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int flock(int file, int operation) {
  char name[32], path[PATH_MAX] = "";
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  if (readlink(name, path, sizeof path - 1) > 0 && !strncmp(path, getenv("NO_LOCKS_BELOW"), strlen(getenv("NO_LOCKS_BELOW")))) {
    errno = atoi(getenv("NO_LOCKS_ERROR"));
    return -1;
  }
  return (int)syscall(SYS_flock, file, operation);
}
"""

SPEC = """\
title: Toy
dataset: {name: toy}
protocol: {prompt: 10, notes: 20, pieces: 2}
seeds: 1
references: [real]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("library")
    (folder / "no_locks.c").write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "no_locks.so", folder / "no_locks.c"], check=True)
    return folder / "no_locks.so"


def run(folder: Path, library: Path, below: Path, error: int) -> subprocess.CompletedProcess[str]:
    (folder / "toy.yaml").write_text(SPEC)
    plugins = str(Path(__file__).parents[1] / "runner" / "plugins")
    preload = {"LD_PRELOAD": str(library), "NO_LOCKS_BELOW": str(below), "NO_LOCKS_ERROR": str(error)}
    words = ["run", "toy.yaml", "--plugins", plugins, "--scale", "cpu", "--no-sound", "--out", "out"]
    command, env = [sys.executable, "-m", "bench", *words], environment(preload | {"BENCH_CACHE": str(folder / "cache")})
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_run_folder_without_locks_is_refused_with_a_way_out(tmp_path: Path, library: Path, error: int) -> None:
    done = run(tmp_path, library, tmp_path / "out", error)
    assert done.returncode == 3
    reason, hint = done.stderr.splitlines()
    assert reason.startswith(f"error: {tmp_path / 'out/runs/toy-cpu'} can't be locked (")
    assert hint == "Two runs in one folder would mix. Give a folder on a disk of this machine: --out DIR."


def test_a_cache_needs_no_locks(tmp_path: Path, library: Path) -> None:
    done = run(tmp_path, library, tmp_path / "cache", errno.ENOLCK)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "cache" / "corpora").glob("*.npy"))) == 1


def test_a_copy_by_hard_links_does_not_open_a_lock(tmp_path: Path) -> None:
    """As `cp -al` and rsnapshot make them, during a run."""
    with hold(tmp_path / ".lock", tmp_path, note="the first"):
        os.link(tmp_path / ".lock", tmp_path / "backup")
        with pytest.raises(BusyError, match="the first"), hold(tmp_path / ".lock", tmp_path):
            raise AssertionError("two at once")
    with hold(tmp_path / ".lock", tmp_path, note="the second"):
        assert (tmp_path / "backup").read_text() == "the first"


def test_a_temporary_of_another_process_is_left_alone_without_locks(tmp_path: Path, library: Path) -> None:
    other = tmp_path / "cache" / "corpora" / ".toy-0123456789abcdef.npy.1a2b.tmp"
    other.parent.mkdir(parents=True)
    other.touch()
    assert run(tmp_path, library, tmp_path / "cache", errno.ENOLCK).returncode == 0
    assert other.exists()
    shutil.rmtree(tmp_path / "out")
    for corpus in other.parent.glob("*.npy"):
        corpus.unlink()
    assert run(tmp_path, library, tmp_path / "elsewhere", errno.ENOLCK).returncode == 0
    assert not other.exists()
