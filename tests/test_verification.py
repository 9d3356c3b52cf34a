"""What `bench verify` finds in the sound of a run and in its listening tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.listening.key import FOLDER, PAGE, RESTORE, read_keys, write_key
from bench.listening.page import Choices, make_test
from bench.sound.clips import render_run
from bench.storage.run_folder import RunFolder
from bench.verification import Finding, verify_run
from tests.listening.sample_run import run_for_listening
from tests.sound.sample_run import SYNTHESIZER, run_with_midi


def flipped(path: Path) -> Iterator[int]:
    """Change a bit of a file, at several places one after the other."""
    content = path.read_bytes()
    for place in (0, len(content) // 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        yield place
    path.write_bytes(content)


def found(run: Path, folder: str) -> list[Finding]:
    """Faults below a folder of a run."""
    return [finding for finding in verify_run(run) if finding.fault and finding.part.startswith(folder)]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a listening test."""
    run = run_for_listening(tmp_path_factory.mktemp("verified") / "table2-cpu", pieces=5)
    make_test(run, Choices(systems=["lstm"], questions=4, seconds=1.0), SYNTHESIZER)
    return run


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the sound of its models, and of the references that were asked for."""
    run = run_with_midi(tmp_path_factory.mktemp("verified") / "run")
    references = sorted({p.trial["system"] for p in RunFolder(run).read().trials if p.trial["kind"] != "model"})
    render_run(run, SYNTHESIZER)
    assert any(outcome.rendered for outcome in render_run(run, SYNTHESIZER, systems=references[:1]))
    return run


@pytest.mark.parametrize("name", ["key.json", PAGE])
def test_any_changed_bit_of_a_listening_test(tested: Path, name: str) -> None:
    assert not found(tested, FOLDER)
    (folder,) = (tested / FOLDER).iterdir()
    for _ in flipped(folder / name):
        (finding,) = found(tested, FOLDER)
        assert finding.part == f"{FOLDER}/{folder.name}/{name}"
        again = "the same bench listen-test command writes it again"
        assert finding.remedy == (again if name == PAGE else RESTORE.replace("Restore", "restore").rstrip("."))


@pytest.mark.parametrize("name", ["key.json", PAGE])
def test_missing_parts_of_a_listening_test(tested: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tested, run := tmp_path / "run")
    (folder,) = (run / FOLDER).iterdir()
    (folder / name).unlink()
    (finding,) = found(run, FOLDER)
    assert finding.part.endswith(name)
    (folder / name).mkdir()
    (finding,) = found(run, FOLDER)
    assert "is not a file of its own" in finding.fault


def test_a_key_of_an_earlier_version_vouches_for_no_page(tested: Path, tmp_path: Path) -> None:
    shutil.copytree(tested, run := tmp_path / "run")
    ((folder, key),) = read_keys(run).values()
    write_key(folder, key)
    (folder / PAGE).write_bytes(b"another")
    (run / FOLDER / "test-0123456789ab.bad").write_bytes(b"set aside")
    assert not found(run, FOLDER)


def test_any_changed_bit_of_sound_that_was_asked_for(rendered: Path) -> None:
    """Also of reference rows, which a run by itself doesn't render."""
    assert not found(rendered, "sound")
    files = sorted((rendered / "sound").glob("*/piece-000.*"))
    assert len({file.parent for file in files}) > 2
    for file in files:
        for _ in flipped(file):
            (finding,) = found(rendered, "sound")
            assert finding.part == file.with_name("piece-000.mp3").relative_to(rendered).as_posix()


def test_sound_of_a_reference_is_made_again_by_another_command(rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered, run := tmp_path / "run")
    for record in (run / "sound").glob("*/*.json"):
        record.write_text("{}")
    remedies = {finding.part.split("/")[1]: finding.remedy for finding in found(run, "sound")}
    references = {planned.trial["system"] for planned in RunFolder(run).read().trials if planned.trial["kind"] == "reference"}
    assert {row for row, remedy in remedies.items() if "bench listen" in remedy} == references & remedies.keys() != set()
    assert len(set(remedies.values())) == 2
