"""What others may have made is read by the one reader, which knows its size first; what is read otherwise is named here."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Files that call ``read_text`` or ``read_bytes`` of a path, how often, and why no stranger's file is read whole by it.
KNOWN = {
    "bench/cli/new.py": (1, "our own template"),
    "bench/listening/page.py": (1, "our own page"),
    "bench/report/page.py": (1, "our own page"),
    "bench/sound/synthesizer.py": (1, "the user's soundfont"),
    "bench/music/harmony/__init__.py": (1, "our own code"),
    "bench/metrics/sample_scores.py": (1, "our own code"),
    "bench/runner/reading.py": (1, "our own code"),
    "bench/plugins/source.py": (1, "a plug-in's code"),
    "bench/plugins/digest.py": (2, "a plug-in's code"),
    "datasets/calibration.py": (1, "our own code"),
    "datasets/chorales.py": (1, "our own code"),
    "bench/runner/engines/choice.py": (1, "the user's options"),
    "bench/runner/lease.py": (3, "our own draft, and the kernel"),
    "bench/runner/processes.py": (1, "the kernel"),
    "bench/system/cpu_time.py": (2, "the kernel"),
    "bench/system/hardware.py": (6, "the kernel"),
    "bench/system/memory.py": (2, "the kernel"),
    "bench/runner/prepare.py": (1, "its size is known to be less than our tag's"),
    "bench/report/figures/audit.py": (1, "its size is known to be below a limit"),
    "bench/music/midi.py": (1, "its size is known to be below a limit"),
    "datasets/_files.py": (1, "its size is known to be below a limit"),
    "datasets/_musicxml.py": (1, "music21's own package"),
    "models/huggingface.py": (3, "sizes are known to be below a limit"),
    "models/_paper_training.py": (1, "weights that this training wrote"),
}


def test_files_are_read_by_the_one_reader() -> None:
    """A sparse file of 10 GB in the folder of a search, or beside weights, took as much memory."""
    found: dict[str, int] = {}
    for path in (p for folder in ("bench", "models", "datasets") for p in sorted((ROOT / folder).rglob("*.py"))):
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
        if number := sum(node.attr in ("read_text", "read_bytes") for node in calls):
            found[path.relative_to(ROOT).as_posix()] = number
    assert found == {name: number for name, (number, _) in KNOWN.items()}, "use bench.system.disk.read_file"
