"""The adapter of `transformers` and MidiTok, on tiny models with random weights; the hub is a server of this machine."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="the adapter's tests need transformers and miditok, see tox.ini")
safetensors_torch = pytest.importorskip("safetensors.torch")
httpx2 = pytest.importorskip("httpx2")
miditok = pytest.importorskip("miditok", reason="the adapter's tests need transformers and miditok, see tox.ini")

from bench.api import Budget, DataError, Notes, Piece, PluginError, RefusedError, Run, TrialError, midi_bytes  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

from .pieces import music  # noqa: E402

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = find_plugins("model")["huggingface"]
Model = load(PLUGIN)
NOTHING = Notes.concatenate([])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def walk(seed: int, n: int) -> Notes:
    return music(seed, n).notes


def made(folder: Path, kind: str = "REMI", positions: int = 256, trained: bool = False, layers: int = 1) -> Path:
    """A tiny GPT-2 with random weights and a tokenizer, saved as their libraries save them."""
    config = miditok.TokenizerConfig(num_velocities=16, use_programs=False)
    tokenizer = getattr(miditok, kind)(config)
    if trained:
        files = []
        for seed in range(3):
            files.append(folder / f"{seed}.mid")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(midi_bytes(walk(seed, 200)))
        tokenizer.train(vocab_size=len(tokenizer) + 40, files_paths=files)
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": layers, "n_head": 2, "n_positions": positions}
    network = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(tokenizer), **sizes))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ready(folder: Path, **params: Any) -> Any:
    model = Model(model=str(folder), **params)
    model.weights = model.find([])
    return model


@pytest.mark.parametrize("kind", ["REMI", "TSD", "MIDILike"])
def test_it_continues_prompts_and_pieces_of_its_own(kind: str, tmp_path: Path) -> None:
    model = ready(made(tmp_path, kind))
    prompt = walk(1, 20).shifted(3.0)
    continued, again = model.generate([prompt, prompt], 30, seed=1)
    assert (len(continued), len(again)) == (30, 30)
    assert continued != again
    assert continued.onset[0] >= prompt.onset[-1] - 1e-6
    assert model.generate([prompt], 30, seed=1)[0] == continued
    (new,) = model.generate([NOTHING], 5, seed=2)
    assert new.onset[0] == 0
    grid = 0.5 / 8  # of the tokenizer's 8 positions a beat, at 120 beats a minute
    steps = np.diff(continued.onset) / grid
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert set(continued.velocity) <= set(range(7, 128, 8)), "its 16 velocities"


def test_tokens_are_drawn_with_the_probabilities_of_the_model(tmp_path: Path) -> None:
    """Of the first token after a prompt, against softmax of the logits without what may not follow."""
    model = ready(made(tmp_path, "TSD"), temperature=0.5)
    model.generate([NOTHING], 1, 0)
    tokens = model._encode(walk(1, 6))
    random = torch.Generator().manual_seed(0)
    drawn = np.bincount([model._draw(tokens[-20:], random, 1)[0] for _ in range(600)], minlength=len(model._tokenizer))
    logits = model._network(torch.tensor([tokens[-20:]])).logits[0, -1] / 0.5
    followers = model._tokenizer.tokens_types_graph["Duration"] - {"PAD", "EOS", "MASK"}
    names = {token: name.partition("_")[0] for name, token in model._tokenizer.vocab.items()}
    allowed = [token for token, kind in names.items() if kind in followers]
    assert set(np.flatnonzero(drawn)) <= set(allowed)
    p = torch.softmax(logits[allowed], -1).detach().numpy()
    assert abs(drawn[allowed] / 600 - p).max() < 0.02


def test_nats_per_token_by_hand(tmp_path: Path) -> None:
    model = ready(made(tmp_path))
    pieces = [Piece(walk(seed, 12), str(seed)) for seed in range(2)]
    model.fit(pieces, pieces, Run(0, Budget(), tmp_path / "run"))
    total, count = 0.0, 0
    for piece in pieces:
        tokens = torch.tensor([model._encode(piece.notes)])
        output = model._network(tokens, labels=tokens)
        total, count = total + float(output.loss) * (tokens.shape[1] - 1), count + tokens.shape[1] - 1
    facts = model.facts()
    assert facts["validation_nats_per_token"] == pytest.approx(total / count, rel=1e-5)
    assert facts["validation_nats_per_token"] == pytest.approx(math.log(facts["vocabulary"]), rel=0.05), "it has learned nothing"
    assert facts["tokenizer"] == "REMI"
    assert facts["parameters"] == sum(p.numel() for p in model._network.parameters())
    assert model.likelihood is None
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_a_prompt_longer_than_the_context(tmp_path: Path) -> None:
    model = ready(made(tmp_path, positions=64))
    prompt = walk(3, 200)
    (continued,) = model.generate([prompt], 40, seed=0)
    assert len(continued) == 40
    assert continued.onset[0] >= prompt.onset[-1] - 1e-6


def test_merged_tokens(tmp_path: Path) -> None:
    """No grammar is known of a tokenizer with merged tokens; of those drawn by a random model some are notes."""
    model = ready(made(tmp_path, "TSD", trained=True))
    assert model.facts()["vocabulary"] > len(miditok.TSD(miditok.TokenizerConfig(num_velocities=16)))
    (continued,) = model.generate([walk(1, 8)], 3, seed=0)
    assert len(continued) == 3


@pytest.mark.parametrize("kind", ["REMI", "TSD", "MIDILike"])
def test_notes_outside_the_tokenizers_range_are_not_heard(kind: str, tmp_path: Path) -> None:
    model = ready(made(tmp_path, kind))
    low = Notes.from_columns([0.0, 0.7], [0.4, 0.4], [10, 12], [80, 80])
    (continued,) = model.generate([low], 5, seed=0)
    assert len(continued) == 5
    assert continued.onset[0] == pytest.approx(0.7), "as a new piece, from the last onset on"
    model.fit([], [Piece(low, "low")], Run(0, Budget(), tmp_path / "run"))
    assert len(model._encode(low)) < 3, "no note"


def test_a_chunk_is_drawn_as_without_the_cache(tmp_path: Path) -> None:
    """Token by token with the keys and values of those before, against the most probable one after all of them."""
    model = ready(made(tmp_path, "TSD"), top_p=1e-9)
    model.generate([NOTHING], 1, 0)
    tokens = model._encode(walk(1, 6))
    for token in model._draw(tokens, torch.Generator().manual_seed(0), 40):
        logits = model._network(torch.tensor([tokens])).logits[0, -1]
        kind = model._types[tokens[-1]]
        assert token == int(logits.masked_fill(model._forbidden[kind], -math.inf).argmax())
        tokens.append(token)


def test_a_vocabulary_larger_than_the_tokenizers(tmp_path: Path) -> None:
    """As that of a language model of texts that was trained further: rules are kept by type of token, not by token."""
    folder = made(tmp_path, "TSD")
    sizes = {"n_embd": 2, "n_layer": 1, "n_head": 1, "n_positions": 64}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=50_257, **sizes)).save_pretrained(folder)
    model = ready(folder)
    (continued,) = model.generate([walk(1, 6)], 5, seed=0)
    assert len(continued) == 5
    assert sum(mask.numel() for mask in model._forbidden.values()) <= 20 * 50_257


def test_a_narrow_nucleus_repeats_itself(tmp_path: Path) -> None:
    model = ready(made(tmp_path, "TSD"), top_p=1e-6)
    one, two = model.generate([walk(1, 8)] * 2, 6, seed=0)
    assert one == two, "always the most probable token"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"model": "org/name"}, "'org/name' is no folder here, and as an id on the hub it has no pinned revision"),
        ({"model": "./name", "revision": COMMIT}, "model is the folder ./name, and revision is '[0-9a-f]+': a folder has none"),
        ({"model": "org/name", "revision": "main"}, "no pinned revision .revision is 'main'"),
        ({"temperature": 0.0}, "temperature is 0.0, must be above 0"),
        ({"top_p": 1.5}, "top_p is 1.5, must be above 0 and at most 1"),
        ({"context": 1}, "context is 1, must be a whole number of 2 or more"),
        ({"context": 2.5}, "context is 2.5, must be a whole number of 2 or more"),
        ({"pedal": "extend"}, "pedal is 'extend', must be 'ignore' or be left out"),
        ({"tempo": math.inf}, "tempo is inf, must be above 0 and finite"),
    ],
)
def test_what_it_refuses(params: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        Model(**params)


def test_where_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = Model(model="org/name", revision=COMMIT)
    assert pinned.find([tmp_path]) is None
    folder = made(tmp_path / f"org--name-{COMMIT}")
    assert pinned.find([tmp_path / "other", tmp_path]) is None, "its fetch has not ended"
    (folder / "sha256.json").write_text("{}")
    assert pinned.find([tmp_path / "other", tmp_path]) == folder
    assert Model().find([tmp_path, folder]) == folder, "without a name, a root that is a model"
    made(tmp_path / "here" / "org" / "name")
    monkeypatch.chdir(tmp_path / "here")
    assert Model(model="org/name").find([]) == tmp_path / "here" / "org" / "name"
    assert Model(model="org/name", revision=COMMIT).find([tmp_path]) == folder, "a folder's name pins no revision"
    with pytest.raises(DataError, match="nothing to fetch without an id"):
        Model().fetch(tmp_path, lambda done, total, what: None)
    with pytest.raises(TrialError, match="no weights yet"):
        Model().generate([NOTHING], 1, 0)


class Hub(BaseHTTPRequestHandler):
    """What the hub's client asks for: the files of a revision, and each of them."""

    folder: ClassVar[Path]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        names = [path.name for path in self.folder.iterdir()]
        name = self.path.rpartition("/")[2]
        if "/tree/" in self.path:
            files = [{"type": "file", "path": n, "size": (self.folder / n).stat().st_size, "oid": n} for n in names]
            content = json.dumps(files).encode()
        elif self.path.startswith("/api/models/org/name"):
            content = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}).encode()
        elif name in names:
            content = (self.folder / name).read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_a_revision_is_fetched_and_verified(tmp_path: Path) -> None:
    Hub.folder = made(tmp_path / "hub")
    (Hub.folder / "tf_model.h5").write_bytes(b"of another framework")
    (Hub.folder / "sha256.json").write_text("{}")  # in the place of our list, as if all were there
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = f"""
import os
from pathlib import Path
from bench.plugins.discovery import find_plugins, load
model = load(find_plugins("model")["huggingface"])(model="org/name", revision={COMMIT!r})
quiet = lambda done, total, what: None
cache = Path({str(tmp_path / "cache")!r})
model.fetch(cache, quiet)
folder = model.find([cache])
print(model.verify(folder, quiet).differences, sorted(path.name for path in folder.glob("*.*")))
weights = folder / "model.safetensors"
before, own = weights.stat(), folder / "my-notes.txt"
own.write_text("the user's")
weights.write_bytes(weights.read_bytes()[:-1] + b"x")
os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # rot changes no time
print(model.verify(folder, quiet).differences)
model.fetch(cache, quiet)
print(model.verify(folder, quiet).differences)
assert own.read_text() == "the user's"
model.fetch.__globals__["_download"] = None  # as without a network
model.fetch(cache, quiet)
print(model.verify(folder, quiet).differences)
"""
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    whole, damaged, *again = done.stdout.splitlines()
    assert whole.startswith("() [")
    assert "'sha256.json'" in whole
    assert "h5" not in whole
    assert damaged.startswith("('model.safetensors has sha256 ")
    assert again == ["()", "()"], "what is damaged is downloaded again, what is whole is left alone"


class Endless(Hub):
    """A hub that sends more of a file than it has announced, without end."""

    def do_GET(self) -> None:
        if self.command == "HEAD" or not self.path.endswith(".safetensors"):
            return super().do_GET()
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1 << 12):  # 4 GiB
                self.wfile.write(bytes(1 << 20))
        return None


class Packed(Hub):
    """A hub that answers a request for a file by an error, whose text is a gigabyte when it is unpacked."""

    def do_GET(self) -> None:
        if self.command == "HEAD" or not self.path.endswith(".safetensors"):
            return super().do_GET()
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        text = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)), packer.flush()])
        self.send_response(404)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text)
        return None


class Moved(Hub):
    """A hub whose list goes on at a place where nobody answers, and then again at its own."""

    pages: ClassVar[list[str]] = []

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        if "/tree/" in self.path and "cursor" not in self.path:
            self.send_header("Link", f'<http://{self.headers["Host"]}{self.path}&cursor=2>; rel="next"')

    def do_GET(self) -> None:
        if "cursor" in self.path and not self.pages:
            self.pages.append(self.path)
            super(Hub, self).send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()


class Broken(Hub):
    """A hub whose connections end in the middle of an answer."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"[{")


FETCH = f"""
import sys
from pathlib import Path
from bench.plugins.discovery import find_plugins, load
Model = load(find_plugins("model")["huggingface"])
{{before}}
try:
    Model(model="org/name", revision={COMMIT!r}).fetch(Path(sys.argv[1]), lambda done, total, what: None)
except Model.fetch.__globals__["DataError"] as error:
    print(error.message)
"""


#: Fails at the fourth request, if it is seen: the one after that which nobody answered.
COUNTED = """
seen, whole = [], Model.fetch.__globals__["_examiner"]
def counting():
    def examine(request):
        seen.append(request)
        if len(seen) == 4:
            raise ValueError("seen all four")
    return examine
Model.fetch.__globals__["_examiner"] = counting
"""


@pytest.mark.parametrize(
    ("hub", "before", "said"),
    [
        (Endless, "", "File too large"),
        (Broken, "", "org/name at "),
        (Moved, COUNTED, "seen all four"),
        (Packed, "", "an answer takes more than 536,870,912 bytes of memory"),
        (Hub, "answers = [True, False]; Model.fetch.__globals__['is_public'] = lambda _: answers.pop(0)", "at a private address"),
        (Hub, "Model.fetch.__globals__['MOST_FILES'] = 1", "it has more than 1 files"),
        (Hub, "Model.fetch.__globals__['OTHERS'] = ['*']", "the hub lists no file"),
        (Hub, "Model.fetch.__globals__['MOST_BYTES'] = 9", "bytes, and may have 9"),
        (Hub, "Model.fetch.__globals__['PATIENCE'] = 1e-6", "it took longer than 0 s"),
    ],
)
def test_a_hub_costs_no_more_than_it_announced(tmp_path: Path, hub: type[Hub], before: str, said: str) -> None:
    """Its own client follows redirects to anywhere, and writes what comes until the disk is full."""
    hub.folder = made(tmp_path / "hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", FETCH.format(before=before), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    server.shutdown()
    assert said in done.stdout, done.stdout + done.stderr
    written = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert written < 2 * sum(path.stat().st_size for path in hub.folder.iterdir()) + (1 << 20)


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (["https://1.1.1.1/a", "https://8.8.8.8/b"], ""),
        (["https://1.1.1.1/a", "https://127.0.0.1/b"], "127.0.0.1 is at a private address"),
        (["https://1.1.1.1/a", "http://1.1.1.1/b"], "it redirects to http://1.1.1.1/b"),
        (["http://127.0.0.1/a", "https://8.8.8.8/b", "http://127.0.0.1/c"], ""),
        (["http://10.0.0.1/a", "http://no-such-name.invalid/b"], ""),
    ],
)
def test_redirects_of_a_hub(addresses: list[str], said: str) -> None:
    examine = Model.fetch.__globals__["_examiner"]()
    requests = [httpx2.Request("GET", address) for address in addresses]
    for request in requests[:-1]:
        examine(request)
    if said:
        with pytest.raises(RefusedError, match=re.escape(said)):
            examine(requests[-1])
    else:
        examine(requests[-1])


def test_another_tokenizer_is_other_weights_and_a_larger_one_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "model", "TSD")
    other = tmp_path / "tokenizer"
    miditok.TSD(miditok.TokenizerConfig(num_velocities=127)).save_pretrained(other)
    model = ready(folder, tokenizer=str(other))
    assert model.fingerprint(folder) != ready(folder).fingerprint(folder)
    with pytest.raises(DataError, match=r"the tokenizer has \d+ tokens, the model \d+"):
        model.generate([NOTHING], 1, 0)
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is no tokenizer of MidiTok"):
        model.generate([NOTHING], 1, 0)
    (other / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="there is no tokenizer of MidiTok at"):
        model.generate([NOTHING], 1, 0)


def test_a_model_that_writes_a_pedal_is_one_that_ignores_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "model", "REMI")
    miditok.REMI(miditok.TokenizerConfig(num_velocities=16, use_sustain_pedals=True)).save_pretrained(folder)
    with pytest.raises(DataError, match="the model writes a sustain pedal") as caught:
        ready(folder).generate([NOTHING], 1, 0)
    assert "pedal: ignore" in caught.value.hint
    with pytest.raises(DataError, match=r"the tokenizer has \d+ tokens, the model \d+"):  # further on: it isn't this model's
        ready(folder, pedal="ignore").generate([NOTHING], 1, 0)


def test_other_kinds_of_model_are_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="holds no causal language model of transformers: Error while deserializing"):
        ready(folder).generate([NOTHING], 1, 0)
    weights.unlink()
    with pytest.raises(DataError, match="holds no causal language model of transformers") as caught:
        ready(folder).generate([NOTHING], 1, 0)
    assert "fetch it again" in caught.value.hint
    miditok.CPWord(miditok.TokenizerConfig(num_velocities=16)).save_pretrained(folder)
    with pytest.raises(DataError, match="CPWord has several tokens at each position"):
        ready(folder).generate([NOTHING], 1, 0)


@pytest.mark.parametrize(
    "change",
    [{"vocab_size": 10**11}, {"n_layer": 10**9}, {"n_embd": 10**9}, {"n_positions": 10**12}],
)
def test_a_config_that_claims_a_larger_model_costs_nothing(tmp_path: Path, change: dict[str, int]) -> None:
    """A text of 800 bytes would take all memory before the shapes are compared."""
    folder = made(tmp_path, "TSD")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=r"describes a larger model than its weights, [\d,]+ bytes"):
        ready(folder).generate([NOTHING], 1, 0)


@pytest.mark.parametrize("change", [{"beat_res": {"0_100000000": 8, "4_12": 4}}, {"beat_res": {"0_4": 10**9}}])
def test_a_tokenizer_of_any_size_costs_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    """Four characters more in its file, and it would take all memory."""
    file = made(tmp_path, "TSD") / "tokenizer.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "config": {**stored["config"], **change}}))
    with pytest.raises(DataError, match=r"describes a tokenizer that takes more than [\d,]+ bytes"):
        ready(file.parent).generate([NOTHING], 1, 0)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_text_of_any_size_costs_nothing(tmp_path: Path, name: str) -> None:
    """Five gigabytes of holes take no disk, and twice as much memory."""
    folder = made(tmp_path, "TSD")
    os.truncate(folder / name, 5 << 30)
    with pytest.raises(DataError, match=rf"{name} has 5,368,709,120 bytes, and may have"):
        ready(folder).generate([NOTHING], 1, 0)


def test_an_adapter_leads_nowhere(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    with pytest.raises(DataError, match="holds an adapter, whose config names another model"):
        ready(folder).generate([NOTHING], 1, 0)


def test_a_time_that_has_passed_is_said_again(tmp_path: Path) -> None:
    """The hub's client passes over whatever happens in some of its requests."""
    with Model.fetch.__globals__["_deadline"](0.01):
        for _ in range(2):
            with pytest.raises(RefusedError, match="it took longer than 0 s"):
                time.sleep(30)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    file = made(tmp_path, "TSD") / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "config": 3}))
    with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer of MidiTok: "):
        ready(file.parent).generate([NOTHING], 1, 0)


@pytest.mark.parametrize("special", [False, True])
def test_a_tokenizer_of_many_types_has_no_mask_for_each(tmp_path: Path, special: bool) -> None:
    """Of 60,000 types they would take 4 GB."""
    kinds = [f"K{number}_0" for number in range(2000)]
    config = miditok.TokenizerConfig(num_velocities=16, special_tokens=["PAD", "BOS", *(kinds if special else [])])
    model = ready(made(tmp_path, "TSD"))
    model._tokenizer = miditok.TSD(config)
    for kind in kinds if not special else []:
        model._tokenizer.add_to_vocab(kind)
    types, forbidden = model._rules(len(model._tokenizer))
    assert len(set(types.values())) > 2000
    assert len({id(mask) for mask in forbidden.values()}) < 50
    pitch, following = next(token for token, kind in types.items() if kind == "Pitch"), forbidden["Pitch"]
    assert bool(following[pitch]), "a velocity comes after a pitch"
    assert not bool(following[[token for token, kind in types.items() if kind == "Velocity"]].any())


@pytest.mark.parametrize("claim", ["bytes", "stride"])
def test_weights_that_claim_any_size_are_refused(tmp_path: Path, claim: str) -> None:
    """A pickle of a few kilobytes that torch takes for safe: eight gigabytes of zeros, or one number that is repeated."""
    folder = made(tmp_path, "TSD")
    weights = safetensors_torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if claim == "stride":
        name = "transformer.wte.weight"
        weights[name] = torch.zeros(1, dtype=torch.float16).as_strided((2_000_000_000, weights[name].shape[1] // 8), (0, 0))
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        torch.save(weights | {"transformer.h.0.attn.bias": Zeros(8 << 30)}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds no causal language model of transformers"):
        ready(folder).generate([NOTHING], 1, 0)


class Zeros:
    """Unpickled, so many bytes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (self.count,)


def test_a_config_that_makes_a_list_of_its_layers_costs_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    config = transformers.MambaConfig(num_hidden_layers=1).to_dict()
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**7}))
    with pytest.raises(DataError, match="describes a larger model than its weights"):
        ready(folder).generate([NOTHING], 1, 0)


@pytest.mark.parametrize("kernel", ["kernels-community/flash-attn2", "flash_attention_2"])
def test_a_kernel_of_the_hub_is_not_downloaded(tmp_path: Path, kernel: str) -> None:
    folder = made(tmp_path, "TSD")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attn_implementation": kernel}))
    with pytest.raises(DataError, match=f"asks for an attention kernel, {kernel}"):
        ready(folder).generate([NOTHING], 1, 0)


def test_compressed_weights_are_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    weights = safetensors_torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    whole = ready(folder).generate([walk(0, 20)], 4, 0)[0]
    with zipfile.ZipFile(folder / "pytorch_model.bin") as stored:
        parts = {part.filename: stored.read(part) for part in stored.infolist()}
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    with pytest.raises(DataError, match="is compressed: it may hold any weights"):
        ready(folder).generate([NOTHING], 1, 0)
    assert len(whole) == 4


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", ""])
def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path, prefix: str) -> None:
    """As of a wrapped module, or a damaged conversion: else they are drawn at random, in each process anew."""
    folder = made(tmp_path, "TSD")
    file = folder / "model.safetensors"
    weights = safetensors_torch.load_file(file)
    name = "transformer.h.0.attn.c_attn.weight"
    if prefix:
        weights = {prefix + key: value for key, value in weights.items()}
    else:
        del weights[name]
    safetensors_torch.save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lacks \d+ of the model's weights, such as ") as caught:
        ready(folder).generate([NOTHING], 1, 0)
    assert (f"it has {prefix}" in caught.value.message) == bool(prefix)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_layer": 0}, r"has \d+ weights for which"),
        ({"n_layer": 1}, r"has \d+ weights for which the model of its config.json has no place, such as transformer\.h\.1\."),
        (
            {"n_inner": 48},
            r"\d+ of the weights in .* don't fit its config.json, such as transformer\.h\.0\.mlp\.",
        ),
    ],
)
def test_a_config_of_another_size_is_refused(tmp_path: Path, change: dict[str, int], said: str) -> None:
    """Else a part of the network runs under the whole one's name."""
    folder = made(tmp_path, "TSD", layers=2)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=said):
        ready(folder).generate([NOTHING], 1, 0)


def test_a_config_without_biases_that_the_weights_have_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": size}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(attention_bias=True, **sizes)).save_pretrained(folder)
    assert ready(folder).generate([NOTHING], 1, 0)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attention_bias": False}))
    with pytest.raises(DataError, match=r"has \d+ weights for which the model of its config.json has no place"):
        ready(folder).generate([NOTHING], 1, 0)


def test_constants_that_older_versions_saved_are_no_weights(tmp_path: Path) -> None:
    folder = made(tmp_path, "TSD")
    file = folder / "model.safetensors"
    weights = safetensors_torch.load_file(file)
    before = ready(folder).generate([NOTHING], 4, 0)
    weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    safetensors_torch.save_file(weights, file, metadata={"format": "pt"})
    assert ready(folder).generate([NOTHING], 4, 0) == before


def test_it_conforms(tmp_path: Path) -> None:
    made(tmp_path / "weights", "TSD")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-n0", "tests/contract", "-k", "huggingface"]
    environment = {**os.environ, "BENCH_WEIGHTS": str(tmp_path / "weights")}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert " passed" in answer.stdout
    assert "weights of huggingface aren't here" not in answer.stdout


def test_a_local_model_is_a_row(tmp_path: Path) -> None:
    """As docs/pretrained.md has it, from the command line to the report."""
    folder = made(tmp_path / "my-gpt2", "TSD")
    spec = {
        "title": "GPT-2",
        "dataset": {"name": "chorales", "options": {"limit": 24}},
        "protocol": {"prompt": 8, "notes": 16, "pieces": 2, "samples": 1},
        "seeds": 1,
        "budget": {"epochs": 1},
        "models": {"gpt2": {"plugin": "huggingface", "params": {"model": str(folder)}}},
        "references": ["real", "untrained"],
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "bench", "run", "spec.yaml", "--scale", "cpu", "--no-sound", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    run = tmp_path / "out/runs/spec-cpu"
    with (run / "report.csv").open(newline="") as file:
        flags = {row["system"]: row["flags"] for row in csv.DictReader(file)}
    assert flags.keys() == {"gpt2", "real"}, "no untrained row"
    assert "may have seen the test pieces" in flags["gpt2"]


def test_code_in_a_models_folder_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "model", "TSD")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import GPT2Config as C, GPT2LMHeadModel as M\n"
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(DataError, match="holds no causal language model"):
        ready(folder).generate([walk(0, 8)], 4, 0)
    assert not (tmp_path / "ran").exists()


def test_a_list_of_checksums_may_have_any_size(tmp_path: Path) -> None:
    with (tmp_path / "sha256.json").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(DataError, match="has 10,737,418,240 bytes, and may have"):
        Model(model="org/name", revision=COMMIT).verify(tmp_path, lambda done, total, what: None)
