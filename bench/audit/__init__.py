"""The metric audit: every metric measured on real music and on controlled corruptions of it.

Two questions, each asked with the same corruptions at five strengths:

- **Does the metric detect it?** A held-out continuation is corrupted and measured against itself. How far does the metric move,
  in units of its distance to another real continuation? 0 is blind, 1 is as bad as another piece.
- **Does the metric reward it?** Another real continuation is corrupted. A metric that now calls it better rewards the damage: no
  system writes the target itself, so this is what a system could gain by doing the same to its own music.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.audit.responses import Audit

__all__ = ["write_audit"]


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write ``audit.md``, ``audit.csv`` and ``audit.svg``; the same audit gives the same bytes.

    Returns
    -------
    list of Path
        The files, in the order above.
    """
    from bench.audit.heatmap import audit_svg
    from bench.audit.report import audit_csv, audit_markdown
    from bench.storage.files import write_text

    contents = {"audit.md": audit_markdown(audit), "audit.csv": audit_csv(audit), "audit.svg": audit_svg(audit).decode()}
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]
