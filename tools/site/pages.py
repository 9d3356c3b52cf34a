"""Hook of MkDocs: the manual, the README and its neighbours, the API and the commands as one site.

The pages of ``docs/`` are used as they are. README.md and the other texts at the root join them; source files that they link to
are copied beside them, so that no link leads out of the site.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]

#: Texts at the root, and their pages.
TEXTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "reports/example/audit/audit.md": "audit.md",
}

#: Its page has the sound and figures that the text can't have.
EXAMPLE = {"reports/example/report.md": "reports/example/report.html"}

#: Page of the API: what plug-ins import, and what a program calls.
API = """# API

What a program calls, and what a plug-in imports. Everything else may change.

::: bench.benchmark
    options: {members: [run, RunResult]}

::: bench.api
"""

LINK = re.compile(r"(?P<before>\]\(|src=\")(?P<target>[^)\"#:\s]+)(?P<rest>#[^)\"]*)?(?P<after>[)\"])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that don't lie in ``docs/``, and the files that any page links to."""
    linked: set[Path] = set()
    for source, page in TEXTS.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_rewritten(text, (ROOT / source).parent, linked)))
    for file in [file for file in files if file.src_uri.endswith(".md") and file.abs_src_path]:
        text = Path(str(file.abs_src_path)).read_text(encoding="utf-8")
        files.remove(file)
        files.append(File.generated(config, file.src_uri, content=_rewritten(text, ROOT / "docs", linked)))
    for path in sorted(linked):
        files.append(File.generated(config, f"source/{path.as_posix()}", content=(ROOT / path).read_bytes()))
    files.append(File.generated(config, "api.md", content=API))
    files.append(File.generated(config, "commands.md", content=_commands()))
    return files


def _rewritten(text: str, folder: Path, linked: set[Path]) -> str:
    """Point relative links to pages of the site, and collect the other files that they lead to."""

    def point(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / link["target"]))
        if not path.is_relative_to(ROOT) or not path.exists():
            return link[0]
        own = path.relative_to(ROOT)
        own = Path(EXAMPLE.get(own.as_posix(), own))
        if own.as_posix() in TEXTS:
            target = TEXTS[own.as_posix()]
        elif own.parts[0] == "docs":
            target = own.relative_to("docs").as_posix()
        elif path.is_dir():
            return link[0]
        else:
            linked.add(own)
            target = f"source/{own.as_posix()}"
        return f"{link['before']}{target}{link['rest'] or ''}{link['after']}"

    return LINK.sub(point, text)


def _commands() -> str:
    """Every command with its options, as the command line has them."""
    code = "from typer.cli import main; main()"
    words = ["typer", "bench.cli.app", "utils", "docs", "--name", "bench", "--title", "Commands"]
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = {words!r}; {code}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", done.stdout)  # Rich's marks in the examples
