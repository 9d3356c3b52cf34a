"""Valid inputs that the fuzzers change, and the words of the languages."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

from bench.storage.corpus import FORMAT as CORPUS_FORMAT
from bench.storage.files import FORMAT
from tests.gate import handmade
from tests.history import handmade as past
from tests.listening.simulated import World, attentive, key_of

#: Two quarter notes, a tempo between them, running status.
_EVENTS = ("00903c40", "8360803c40", "00ff510307a120", "00903d40", "83603d00", "00ff2f00")
_BODY = bytes.fromhex("".join(_EVENTS))
MIDI = b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(_BODY).to_bytes(4, "big") + _BODY

_NOTE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>1</duration></note>"
_NUMBERS = ("0", "-1", "1", "2.5", "1e999", "nan", "9" * 30, "9" * 5000, "", "x", "\u0663", "1_0")


def score(measures: str) -> bytes:
    """Wrap measures in a MusicXML file of one part."""
    names = '<part-list><score-part id="P"><part-name>S</part-name></score-part></part-list>'
    text = f'<score-partwise>{names}<part id="P"><measure>{measures}</measure></part></score-partwise>'
    return text.encode("utf-8", "surrogatepass")


MUSICXML = score(_NOTE)
#: What keeps a score well-formed, with numbers that it may have.
XML_SENSIBLE = (
    *(_NOTE, _NOTE, "</measure><measure>", '</measure></part><part id="P"><measure>', "<!-- -->", "<x/>"),
    *(
        _NOTE.replace("</note>", f"{part}</note>")
        for part in ("<chord/>", "<grace/>", '<tie type="start"/>', '<tie type="stop"/>')
    ),
    *(_NOTE.replace("<duration>1", f"<duration>{number}") for number in (2, 96, 10**9)),
    *(_NOTE.replace("</pitch>", f"<alter>{number}</alter></pitch>") for number in (-1, 1)),
    *(f"<{move}><duration>{n}</duration></{move}>" for move, n in (("forward", 1), ("forward", 10**6), ("backup", 1))),
    *(f"<attributes><divisions>{number}</divisions></attributes>" for number in (1, 7, 10080)),
    "<attributes><time><beats>3+2</beats><beat-type>8</beat-type></time></attributes>",
)
XML_TOKENS = (
    *XML_SENSIBLE,
    *("&a;", "</note>", "<note>"),
    *(_NOTE.replace("<duration>1", f"<duration>{number}") for number in _NUMBERS),
    *(_NOTE.replace("<octave>4", f"<octave>{number}") for number in _NUMBERS),
    *(_NOTE.replace("</pitch>", f"<alter>{number}</alter></pitch>") for number in _NUMBERS),
    *(f"<{move}><duration>{number}</duration></{move}>" for move in ("backup", "forward") for number in _NUMBERS),
    *(f"<attributes><divisions>{number}</divisions></attributes>" for number in _NUMBERS),
    *(f"<attributes><time><beats>{n}</beats><beat-type>4</beat-type></time></attributes>" for n in (*_NUMBERS, "3+2", "+")),
    *(f"<attributes><time><beats>3</beats><beat-type>{number}</beat-type></time></attributes>" for number in _NUMBERS),
)

#: A listening test, and a listener's file.
KEY = key_of(3, prompts=5, questions=4)
STORED_KEY: dict[str, Any] = {"format": FORMAT, **KEY.model_copy(update={"forms": KEY.forms[:2]}).model_dump(mode="json")}
VOTES: dict[str, Any] = attentive(KEY, World([1.0, 0.0, -1.0]), 1, 0)[0].model_dump(mode="json")

SPEC: dict[str, Any] = {
    "title": "T",
    "dataset": {"name": "folder", "options": {"programs": "all"}},
    "protocol": {"prompt": 8, "notes": 16, "pieces": 2, "samples": 1, "seconds": 9.0},
    "seeds": [0, 1],
    "budget": {"compute": {"updates": 9}, "timeout": 60},
    "models": {"lstm": {"params": {"units": 32}}, "gan": None},
    "grid": {"lstm.units": [1, 2]},
    "references": ["real", "median"],
    "scales": {"cpu": {"seeds": 1, "models": {"lstm": {"params": {"units": 16}}}}},
}
YAML_TOKENS = (
    *(
        "title",
        "dataset",
        "models",
        "seeds",
        "scales",
        "extends",
        "references",
        ": ",
        ":",
        "\n",
        "\n  ",
        "- ",
        "? ",
        "{",
        "}",
        "[",
        "]",
        ",",
    ),
    *(
        "&a ",
        "*a",
        "<<: ",
        "!!python/object:os.system ",
        "!!int ",
        "!x ",
        "|\n",
        ">-\n",
        "'",
        '"',
        "#",
        "%YAML 1.1\n---\n",
        "...\n",
        "---\n",
    ),
    *(
        "0x1f",
        "1_000",
        "1:30:00",
        "2026-01-01",
        "2026-13-45",
        "2001-12-14t21:59:43.10-05:00",
        ".inf",
        ".nan",
        "1e400",
        "9" * 50,
        "~",
        "0o9",
        "= ",
    ),
    *(
        "cpu",
        "smoke",
        "lstm",
        "smoke.yaml",
        "../",
        "folder",
        "\t",
        "\ufeff",
        "!!binary ",
        "!!set ",
        "!!omap ",
        "!!timestamp ",
        "!!float ",
        "a",
    ),
)

BASELINE = json.loads(json.dumps(asdict(handmade.run(lstm=handmade.system(bits_per_note=handmade.flat(8.0, 2))))))

#: A line of a history of runs; two differ in their seeds.
PAST = tuple(
    json.loads(
        json.dumps(asdict(past.entry(i, {"lstm": past.row({"bits_per_note": [8.0, 8.0 + i], "training_seconds": [9.0]})})))
    )
    for i in (0, 1)
)

RUN: dict[str, Any] = {
    "format": FORMAT,
    "spec": {"title": "A", "dataset": {"name": "four"}, "protocol": {"notes": 4}, "seeds": [0]},
    "started": "2026-01-01T00:00:00Z",
    "scale": "cpu",
    "call": {"spec": "smoke", "data": ["x"], "seeds": [0]},
    "dataset": {
        "title": "Four", "license": "none", "pieces": {"train": 1, "validation": 1, "test": 1},
        "notes": {"train": 4, "validation": 4, "test": 4},
        "skipped": [{"source": "a", "reason": "b"}],
        "entropy": {"total": 4.0, "pitch": 1.0},
        "folds": {"asked": 2, "too_short": 0, "folds": [{"number": 1, "test": [0], "validation": [1]}]},
    },
    "trials": [{"key": "k", "trial": {"system": "lstm", "kind": "model", "seed": 0}}],
    "provenance": {"machine": {"cores": 2}, "interpreters": {"numpy": {"path": "python"}}},
}  # fmt: skip

_COPYING = {"longest_training_run": [1], "longest_prompt_run": [None], "known_patterns": [0.5]}
EPOCH: dict[str, Any] = {
    "event": "epoch", "epoch": 1, "epochs": 2, "in_epochs": True, "seconds": 1.5, "core_seconds": 1.0, "loss": 2.5, "notes": 100,
    "validation_bits": 5.0, "share": 0.5,
}  # fmt: skip
EVENTS: tuple[dict[str, Any], ...] = (
    EPOCH,
    {"event": "fit", "epochs": 8},
    {"event": "generate", "sample": 0, "samples": 1, "pieces": 4},
    {"event": "likelihood", "pieces": 4},
    {"event": "message", "text": "a"},
    {"event": "prepare", "task": "reading MIDI", "done": 1, "total": 2, "what": "b"},
)
DONE: dict[str, Any] = {
    "format": FORMAT, "key": "k", "status": "done",
    "training": {"seconds": 1.5, "epochs": 2, "stopped": "early", "history": [EPOCH], "folds": [{"seconds": 1}]},
    "generation": {"seconds": 1.0, "notes": 4},
    "likelihood": {
        "kind": "exact", "pieces": 1, "notes": 2, "bits_per_note": 4.0,
        "by_field": {"pitch": 1.0, "velocity": 1.0, "time": 1.0, "duration": 1.0},
    },
    "facts": {"parameters": 10}, "memory": {"peak_bytes": 1},
    "originality": {"samples": _COPYING, "targets": _COPYING},
    "harmony": {"key_from": "given", "plans": [{}], "plan_of_piece": [0]},
    "stages": [{"share": 0.5, "updates": 1, "notes": 2, "seconds": 1.0}],
    "yardstick": {"before": 0.1, "after": 0.1}, "prompt": {"odd": 0}, "pieces": [0],
}  # fmt: skip
FAILED: dict[str, Any] = {
    "format": FORMAT, "key": "k", "status": "failed", "error": {"kind": "Died", "message": "m", "phase": "fit", "epochs": 1},
}  # fmt: skip

_COLUMNS: dict[str, Any] = {
    "onset": [0.0, 1.0],
    "duration": [0.5, 0.5],
    "pitch": [60, 61],
    "velocity": [80, 80],
    "offsets": [0, 1, 2],
}
SAMPLES: dict[str, Any] = {
    **_COLUMNS, "format": FORMAT, "piece_index": [0, 1], "sample_index": [0, 0],
    "likelihood_sum": [[-1.0, -1.0, -1.0, -1.0]], "likelihood_notes": [2], "likelihood_piece": [0],
}  # fmt: skip
_PIECE = {"id": "a", "title": "t", "composer": "c"}
TARGETS: dict[str, Any] = {
    "format": FORMAT, **{f"{part}_{name}": values for part in ("prompt", "target") for name, values in _COLUMNS.items()},
    "facts": {"json": {"test_pieces": 2, "usable": 2, "facts": {}, "pieces": [{"index": i, **_PIECE} for i in range(2)]}},
}  # fmt: skip
CORPUS: dict[str, Any] = {
    **_COLUMNS, "format": [CORPUS_FORMAT], "fingerprint": {"json": "f"}, "splits": [1, 0, 1, 0],
    "parsed": {"json": "d"},
    "pieces": {"json": [_PIECE | {"source": "s", "sha256": "", "group": "g"}] * 2}, "skipped": {"json": [["a", "b"]]},
    "remarks": {"json": ["r"]},
    "entropy": {"json": None}, "noise": {"json": {"velocity": 1.0}},
}  # fmt: skip

MAESTRO_HEADER = "canonical_composer,canonical_title,split,year,midi_filename"
MAESTRO_ROW = ("Bach", "T", "train", "2004", "a.mid")
MAESTRO_CELLS = ("test", "../a.mid", "/etc/passwd", "2004/b.mid", "n" * 300, ".")
MAESTRO = f"{MAESTRO_HEADER}\nBach,T,train,2004,a.mid\n".encode()
AUDIT = b"metric,corruption,blind,rewards\npitch_distance,shuffle,yes,no\n"

PAGE = "https://www.midiworld.com/search/1/?q=bach"
_LINK = '<li>Title - by Artist (Genre) - <a href="/download/1">download</a></li>'
HTML = f"<ul>{_LINK}</ul>".encode()
HTML_TOKENS = (
    *(
        _LINK,
        "<li>",
        "</li>",
        "<ul>",
        " - by ",
        " - ",
        "-",
        " ",
        "by",
        "(",
        ")",
        "Title",
        "<!--",
        "-->",
        "<![CDATA[",
        "<!",
        "<?",
        "&#x110000;",
        "&#0;",
    ),
    *(
        '<a href="/download/2">',
        '<a href="x.mid">y</a>',
        '<a href="https://evil.example/download/3">',
        '<a href="//[::1/download/">',
        "</a>",
        "<a ",
    ),
    *(
        '<a href="http://[x]/download/4">z</a>',
        '<a href="bach.htm">',
        '<a href="javascript:/download/">',
        '"',
        "'",
        ">",
        "&amp",
        "\r\n",
        "<svg>",
    ),
    *(
        '<a href="https://www.midiworld.com:x/download/5">',
        '<a href="/download/\u2100">',
        '<a href="https://a\u2100b/download/.mid">',
        "&#xd800;",
    ),
)

_URL = "https://www.midiworld.com/download/1"
LOCK: dict[str, Any] = {
    "format": 1,
    "selections": {'{"composers": [], "limit": 300, "query": ["piano"]}': {"files": [_URL], "left_out": [["u", "reason"]]}},
    "files": {
        _URL: {"file": "files/a.mid", "sha256": hashlib.sha256(MIDI).hexdigest(), "bytes": 1, "title": "T", "composer": "C"}
    },
}

FILE_NAMES = (
    *(
        "prompt-000.mid",
        "prompt-001.mid",
        "prompt-000-1.MID",
        "prompt-002-07.midi",
        "1.mid",
        "x.mid",
        "prompt-999.mid",
        "prompt-\u0663.mid",
    ),
    *("prompt-" + "9" * 200 + ".mid", ".a.mid", "\udce9.mid", "a.txt", "²-٣.mid", "\n.mid"),
)
FOLDER = json.dumps({"prompt-000.mid": MIDI.decode("latin-1")}).encode()


def zipped(name: str, content: bytes) -> bytes:
    """Make a zip file of one member; the same content gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


ARCHIVE = zipped("in/a.mid", b"MThd")
