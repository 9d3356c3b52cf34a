"""What the page gets, its partial, and that a browser can play it."""

import base64
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape

from bench.formatting import clean
from bench.music.midi import MOST_BYTES, midi_bytes, read_midi
from bench.report.listen import clips, file_name, silent
from bench.sound.clips import render_run, sources
from bench.storage.files import write_json
from bench.storage.run_folder import RunFolder, result_digests
from bench.storage.samples import read_target_file, write_targets
from tests.report.stored_run import notes
from tests.sound.sample_run import SYNTHESIZER, report_of, run_with_midi

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = ["<script>document.title='hurt'</script>", "\u202egnp.exe", 'a" onerror="x' + "y" * 300, "../../etc/passwd"]


@pytest.fixture
def run(tmp_path):
    return run_with_midi(tmp_path / "run")


def rendered(groups):
    """The partial in a page of its own."""
    environment = Environment(
        loader=PackageLoader("bench.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    body = environment.get_template("sound.html.j2").render(listen=groups, silent=silent(groups))
    css = environment.get_template("sound.css").render()
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>fine</title><style>{css}</style>{body}'


def titled(run, title):
    """The run with another title for its first piece."""
    file = RunFolder(run).targets
    stored = read_target_file(file)
    first = replace(stored.targets[0], piece=replace(stored.targets[0].piece, title=title, composer=""))
    write_targets(file, replace(stored, targets=(first, *stored.targets[1:])))
    return run


class TestWithoutSound:
    def test_files_that_are_too_large_for_midi_are_not_in_the_page(self, run):
        """Sparse ones, which take no disk and nothing in an archive, made a page of a gigabyte."""
        files = sorted(run.glob("trials/*/midi/piece-000.mid"))
        os.truncate(files[0], MOST_BYTES + 1)
        groups = clips(report_of(run))
        assert sorted(len(clip.midi) < 30 for clip in groups[0].clips) == [False] * 2 + [True]
        os.truncate(files[0], 3000)
        size = sum(len(clip.midi) for group in clips(report_of(run)) for clip in group.clips)
        kept = [len(clip.midi) > 30 for group in clips(report_of(run), most=size - 100) for clip in group.clips]
        assert kept == [True] * 5 + [False]

    def test_a_midi_file_that_is_not_the_trials_is_not_shown(self, run):
        """Nor rendered: the outcome states its checksum, and it may be any music."""
        for outcome in run.glob("trials/*/outcome.json"):
            stored = json.loads(outcome.read_text())
            if stored["status"] == "done":
                del stored["sha256"]
                write_json(outcome, {**stored, "digests": result_digests(outcome.parent)})
        changed = sources(run)[1]
        assert (changed.system, len(changed.digest)) == ("lstm", 64)
        content = bytearray(changed.midi.read_bytes())
        content[-10] ^= 16
        changed.midi.write_bytes(content)
        shown = clips(report_of(run))[0].clips
        assert [(clip.reason, bool(clip.midi)) for clip in shown] == [
            ("not rendered yet", True),
            ("its MIDI file is damaged", False),
            ("not rendered yet", True),
        ]
        assert shown[1].about == "no note that can be read"
        assert 'href=""' not in rendered(clips(report_of(run)))
        assert [outcome.error for outcome in render_run(run, SYNTHESIZER)][:3] == ["", "its MIDI file is damaged", ""]

    def test_the_page_is_complete_and_says_what_to_do(self, run):
        groups = clips(report_of(run))
        assert [(g.title, [c.system for c in g.clips]) for g in groups] == [
            ("Bach: Minuet", ["original", "lstm", "gan"]),
            ("b", ["original", "lstm", "gan"]),
        ]
        assert {(c.audio, c.reason, c.mp3) for g in groups for c in g.clips} == {(None, "not rendered yet", "")}
        page = rendered(groups)
        assert page.count("<svg class=") == 6
        assert page.count("No player: not rendered yet.") == 6
        assert "There is no sound in this run yet: <code>bench listen RUN</code> renders it." in page
        assert "<audio" not in page

    def test_lines_on_the_clips(self, run):
        assert [clip.about for clip in clips(report_of(run))[0].clips] == [
            "6 notes, 2 s",
            "6 notes, 3 s",
            "4 notes, without the prompt, 2 s",
        ]

    def test_the_midi_is_the_file(self, run):
        for clip in clips(report_of(run))[0].clips:
            head, _, content = clip.midi.partition(",")
            assert head == "data:audio/midi;base64"
            assert len(read_midi(base64.b64decode(content))) == (4 if clip.system == "gan" else 6)

    def test_no_model_is_done(self, run):
        shutil.rmtree(run / "trials")
        assert clips(report_of(run)) == []
        assert not silent([])
        assert "<section" not in rendered([])

    def test_other_music_in_the_original_s_file(self, run):
        """It can be parsed, but isn't the target of the run."""
        (run / "midi" / "target-000.mid").write_bytes(midi_bytes(notes([30, 31, 32, 33])))
        clip = clips(report_of(run))[0].clips[0]
        assert (clip.about, clip.audio) == ("no note that can be read", None)

    def test_a_midi_file_that_is_damaged(self, run):
        (run / "trials" / "lstm-0" / "midi" / "piece-000.mid").write_bytes(b"MThd")
        clip = clips(report_of(run))[0].clips[1]
        assert (clip.about, clip.audio) == ("no note that can be read", None)

    @pytest.mark.parametrize("title", HOSTILE)
    def test_hostile_titles(self, run, title):
        page = rendered(clips(report_of(titled(run, title))))
        assert "<script" not in page
        assert not re.search(r"<[^>]*\sonerror=", re.sub(r'"[^"]*"', '""', page))
        assert all(re.fullmatch(r"[a-z0-9-]{1,125}\.mid", name) for name in re.findall(r'download="([^"]*)"', page))
        assert str(escape(clean(title)[:40])) in page


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("lstm", "piece 0", "Bach: Ich hab’ in Gottes"), "lstm-piece-0-bach-ich-hab-in-gottes.mid"),
        (("x", "../../etc/passwd"), "x-etc-passwd.mid"),
        (("x", "CON", "音", "\u202egnp.exe", "\0"), "x-con-gnp-exe.mid"),
        (("x", "y" * 300), f"x-{'y' * 40}.mid"),
    ],
)
def test_file_names(parts, name):
    assert file_name(*parts) == name


class TestWithSound:
    @pytest.fixture
    def played(self, run):
        render_run(run, SYNTHESIZER)
        return run

    def test_every_clip_is_in_the_page(self, played):
        report = report_of(played)
        groups = clips(report)
        for group in groups:
            for clip in group.clips:
                content = base64.b64decode(clip.audio.removeprefix("data:audio/mpeg;base64,"))
                assert content == (played / clip.mp3.replace(".mp3", ".excerpt.mp3")).read_bytes()
                assert (clip.reason, (played / clip.mp3).is_file()) == ("", True)
        assert clips(report_of(played)) == groups
        assert not silent(groups)
        assert groups[0].clips[1].about == "6 notes, 3 s, player: 6 s from 0 s on"

    def test_a_page_holds_so_much_and_no_more(self, played):
        report = report_of(played)
        sizes = [len(clip.audio) + len(clip.midi) for group in clips(report) for clip in group.clips]
        groups = clips(report, most=sum(sizes[:2]))
        shown = [clip for group in groups for clip in group.clips]
        assert [clip.audio is not None for clip in shown] == [True, True, False, False, False, False]
        assert shown[2].reason == "left out, to keep this page small; it is in the run's folder"
        assert shown[2].mp3 == "sound/gan/piece-000.mp3"
        assert not silent(groups)

    @pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")
    def test_a_browser_can_play_it(self, played, tmp_path):
        page = rendered(clips(report_of(titled(played, HOSTILE[0]))))
        # The browser writes what it knows of each player into the page that it gives back.
        script = """<script>for (const a of document.querySelectorAll("audio")) { a.preload = "metadata";
        a.onloadedmetadata = () => { a.dataset.seconds = a.duration.toFixed(1); }; a.load(); }</script>"""
        (tmp_path / "page.html").write_text(page + script)
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"]
        command += ["--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path / 'page.html'}"]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        lengths = [float(seconds) for seconds in re.findall(r'data-seconds="([\d.]+)"', dom)]
        # Three seconds ring after the last note. The GAN takes no prompt: half of its empty first second is left out.
        assert lengths == pytest.approx([4.75, 5.75, 5.25] * 2, abs=0.15)
        assert "<title>fine</title>" in dom
