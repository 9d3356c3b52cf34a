"""Programs and a library that stand in for others."""

import subprocess
from pathlib import Path


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def nvml(folder: Path, gpus: int, *, divided: bool = False) -> None:
    """Compile a library in the driver's place, for ``$LD_LIBRARY_PATH``; see ``nvml.c``."""
    source, library = Path(__file__).with_name("nvml.c"), folder / "libnvidia-ml.so.1"
    numbers = [f"-DNUMBER={gpus}", f"-DMIG={divided:d}"]
    subprocess.run(["cc", *numbers, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
