"""Commands that only answer a question: which GPUs, which versions, which commit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


def ask(command: list[str], timeout: float, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output as text; it can't read stdin."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # as in names of files
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
    )
