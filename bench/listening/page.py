"""The page of a listening test: one file that opens from disk, plays its clips, keeps the answers and makes no request.

Nothing in it names a system: clips have random names, in the order of these. Names and forms are drawn from a secret: from the
seed alone, whoever has this code could work out whose clip is whose. The key with the secret lies beside it, in the run's folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.errors import DataError, UsageError
from bench.formatting import visible
from bench.listening.clips import LEAD, Clip, Material, gather, play
from bench.listening.design import make_forms
from bench.listening.key import FOLDER, PAGE, Heard, Key, read_keys, write_key
from bench.sound.synthesizer import Synthesizer
from bench.storage.files import make_way
from bench.storage.records import RunRecord
from bench.storage.run_folder import RunFolder
from bench.system.disk import write_file

#: Version of the file that the page saves.
VOTES = 1

#: Most sound in a page, bytes of base64. Browsers open it, and mail programs still send it.
MOST_BYTES = 64 << 20

#: Time that a question takes beside its two clips, for the estimate of a session. Seconds.
_THINKING = 6.0


@dataclass(frozen=True)
class Choices:
    """What may be chosen about a test.

    Parameters
    ----------
    systems : sequence of str or None
        Rows beside those that every test has; by default all models.
    prompts : int
        Most prompts.
    questions : int
        Pairs that each listener compares, repeats and catch pairs not counted.
    seconds : float
        Length of a continuation, at most.
    seed : int
    """

    systems: Sequence[str] | None = None
    prompts: int = 12
    questions: int = 20
    seconds: float = 12.0
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """A test that was made.

    Parameters
    ----------
    page : Path
    key : Key
    left_out : tuple of str
        Models without a finished trial.
    minutes : float
        Estimated length of a session.
    """

    page: Path
    key: Key
    left_out: tuple[str, ...]
    minutes: float


def make_test(folder: Path, choices: Choices, synthesizer: Synthesizer) -> Made:
    """Make a listening test of a run: its page and its key, in a folder of their own below the run's.

    The same run and choices give the same files; other choices give a test of another name beside it.

    Raises
    ------
    UsageError
        If the run lacks a row that every test has, or the page would be too large.
    DataError
        If too little of the run is finished.
    """
    run = RunFolder(folder)
    record = run.read()
    material = gather(run, choices.systems, choices.prompts, choices.seconds, choices.seed)
    key = _find_key(folder, material, choices) or _make_key(material, choices, secrets.token_hex(16))
    names = {(clip.system, clip.prompt): name for name, clip in key.clips.items()}
    sound = play(material, choices.seconds, synthesizer)
    if (size := sum(len(clip.audio) for clip in sound.values()) * 4 // 3) > MOST_BYTES:
        raise UsageError(
            f"The page would hold {size >> 20} MiB of sound; {MOST_BYTES >> 20} MiB are the most.",
            "Take fewer or shorter clips: --prompts, --seconds, --systems.",
        )
    minutes = _minutes(sound.values(), len(key.forms[0]))
    html = _page(record, key, {names[place]: clip for place, clip in sound.items()}, names, minutes).encode()
    place = f"{FOLDER}/test-{key.test}"
    make_way(folder, f"{place}/{PAGE}", f"{place}/key.json")
    write_key(folder / place, key, html)
    write_file(folder / place / PAGE, html)
    return Made(folder / place / PAGE, key, material.left_out, minutes)


def _find_key(run: Path, material: Material, choices: Choices) -> Key | None:
    """Find the key of the same test, if the run has it: it is made again as it was, and votes that came back still fit it."""
    try:
        keys = read_keys(run)
    except DataError:
        return None
    return next((key for _, key in keys.values() if key.secret and _make_key(material, choices, key.secret) == key), None)


def _make_key(material: Material, choices: Choices, secret: str) -> Key:
    """Draw forms and names of clips."""
    forms = make_forms(len(material.contestants), material.prompts, choices.questions, [choices.seed, int(secret, 16)])
    names = {place: hashlib.sha256(f"{secret} {place}".encode()).hexdigest()[:16] for place in material.music}
    clips = {name: Heard(system=system, prompt=prompt) for (system, prompt), name in sorted(names.items(), key=lambda x: x[1])}
    return Key(seconds=choices.seconds, contestants=material.contestants, forms=forms, clips=clips, secret=secret)


def _minutes(clips: Iterable[Clip], questions: int) -> float:
    lengths = [clip.seconds for clip in clips]
    return questions * (2 * sum(lengths) / len(lengths) + _THINKING) / 60


def _page(record: RunRecord, key: Key, clips: Mapping[str, Clip], names: Mapping[tuple[int, int], str], minutes: float) -> str:
    """Text of the page. Jinja escapes every text; the content security policy forbids requests and other scripts than its own."""
    forms = [[[names[q.left, q.prompt], names[q.right, q.prompt]] for q in form] for form in key.forms]
    data = {
        "version": VOTES,
        "test": key.test,
        "forms": forms,
        "clips": {
            name: {"mark": round(clips[name].mark, 3), "audio": base64.b64encode(clips[name].audio).decode()}
            for name in sorted(clips)
        },
    }
    script = _file("page.js")
    environment = Environment(
        loader=PackageLoader("bench.listening", ""), autoescape=True, finalize=_finalize, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        data=Markup(json.dumps(data, separators=(",", ":"))),  # names and numbers of ours, base64
        music=f"{record.dataset.title}; {record.dataset.license}",
        questions=len(key.forms[0]),
        minutes=max(1, round(minutes)),
        lead=round(LEAD),
        style=Markup(_file("page.css")),  # our own files
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _finalize(value: object) -> object:
    return value if isinstance(value, Markup) else visible(value)


def _file(name: str) -> str:
    return resources.files("bench.listening").joinpath(name).read_text(encoding="utf-8")
