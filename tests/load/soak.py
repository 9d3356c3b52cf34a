"""Short runs in one folder, one after another in this process: ``python -m tests.load.soak FOLDER NUMBER``.

A process of its own, so that nothing of other tests is measured. Prints as JSON what it held after each run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

import bench
from tests.faults.machine import PLUGINS, TOY


def main(arguments: Sequence[str]) -> None:
    """Run, and print descriptors, threads and resident bytes after each run, and the child processes at the end."""
    folder, number = Path(arguments[0]), int(arguments[1])
    os.environ["BENCH_CACHE"] = str(folder / "cache")
    tempfile.tempdir = str(folder / "temporary")
    (folder / "temporary").mkdir()
    (folder / "toy.yaml").write_text(json.dumps({**TOY, "models": {}, "references": ["median"]}))
    process = psutil.Process()
    held = []
    for i in range(number):
        # Some resume what is finished, some begin anew, some make again what is damaged.
        result = bench.run(folder / "toy.yaml", seeds=[i % 5], plugins=[PLUGINS], out=folder / "out", scale="cpu")
        assert result.failed == 0
        if i % 7 == 3:
            for file in (folder / "out").glob("runs/*/trials/*/samples.npz"):
                file.write_bytes(b"rot")
        held.append((process.num_fds(), process.num_threads(), process.memory_info().rss))
    descriptors, threads, resident = zip(*held, strict=True)
    children = [child.name() for child in process.children(recursive=True)]
    print(json.dumps({"descriptors": descriptors, "threads": threads, "resident": resident, "children": children}))


if __name__ == "__main__":
    main(sys.argv[1:])
