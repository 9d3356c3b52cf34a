"""Any causal language model of Hugging Face's `transformers` (Wolf et al. 2020) over a MidiTok tokenizer (Fradet et al. 2021).

It is used as it comes. Notes become tokens on the tokenizer's own grid, so a continuation has its classes of velocity and time.
Bits per note are not given: a token's grid is not that of the codec's classes, and a class is the sum over many tokens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import resource
import signal
import socket
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from miditok import MusicTokenizer
from torch.nn.modules.module import register_module_buffer_registration_hook, register_module_parameter_registration_hook
from transformers import AutoConfig, AutoModelForCausalLM

import bench.api
from bench.api import (
    DataError,
    Notes,
    Piece,
    PluginError,
    Progress,
    RefusedError,
    Run,
    Ticks,
    TrialError,
    Verified,
    from_ticks,
    in_chunks,
    is_public,
    to_score,
)

FEATURES = "pretrained language model over MidiTok tokens, used as it comes"
REQUIRES = ("torch", "transformers", "miditok")
PRETRAINED = True
NEEDS = "download"
WEIGHTS = ("model", "revision")

#: Ticks of a quarter note in the scores that the tokenizer gets; it has a coarser grid of its own.
RESOLUTION = 480

#: Tokens drawn before the notes are counted, at least, at most, and for each note that is missing; then all are encoded anew.
FEW, CHUNK, TOKENS = 128, 256, 6

#: Validation pieces, and tokens of each, on which nats per token are measured.
MEASURED = (20, 2048)

#: Columns of a symusic track, in the order of :class:`bench.api.Ticks`.
_COLUMNS = ("time", "duration", "pitch", "velocity")

#: Written last into a download, and the files of other frameworks that are left out of it.
CHECKSUMS, OTHERS = "sha256.json", ("*.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite", "*.gguf")

#: What a pinned revision looks like: branches and tags can move.
COMMIT = re.compile(r"[0-9a-f]{40}")


#: Constants that older versions of transformers saved with a model, such as masks, and heads of BERT's other tasks.
_CONSTANT = re.compile(
    r"(.*\.)?(masked_bias|attn\.bias|attention\.bias|inv_freq|position_ids|version)|(.*\.)?(pooler|seq_relationship)\..*"
)


#: Numbers in a model, at most, for each byte of its files, which have one or more bytes for each: weights that are tied, or that
#: layers share, are made several times.
MOST_NUMBERS = 4

#: Bytes of memory, for each of the files, that loading may take: numbers of a byte become floats of four, beside what was read.
MOST_LOADED = 8

#: Largest whole number in a config, whatever the weights are: longer contexts than those of today's models.
MOST_COUNTED = 1 << 24

#: Of a download: files and bytes at most, seconds for the list, and bytes for which a file has as many seconds again.
MOST_FILES, MOST_BYTES, PATIENCE, SLOWEST = 10_000, 64 << 30, 60.0, 1 << 16

#: Bytes of a file of JSON: of a tokenizer or a list of weights, and of others, which transformers reads again and again.
MOST_TEXT, MOST_CONFIG = 64 << 20, 1 << 20

#: Bytes that a tokenizer, or a model without its weights, may take: their files are texts, and may describe any number of parts.
MOST_BUILT = 2 << 30

#: Bytes of memory that an answer of the hub in the place of a file, such as an error's text, may take when it is unpacked.
MOST_ANSWER = 512 << 20

#: Bytes of what a model computes from its config alone, such as masks, beyond its weights.
MOST_TABLES = 1 << 30


@dataclass
class Model(bench.api.Model):
    """A language model that continues the tokens of a prompt.

    Parameters
    ----------
    model : str
        A folder with the model (``config.json``), or its id on the hub. By default what a folder of ``$BENCH_WEIGHTS`` holds.
    revision : str
        For an id: the full commit, 40 hexadecimal digits. With it `model` is an id even if there is a folder of that name.
    tokenizer : str
        The tokenizer's ``tokenizer.json`` of MidiTok, or its folder; by default it is in the model's folder.
    context : int
        Most tokens that the next one is predicted from; no more than the model has positions for.
    tempo : float
        Quarter notes a minute, by which seconds become the tokenizer's beats.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from.
    grammar : bool
        Draw no token that the tokenizer's own grammar forbids after the one before. Has no effect with merged tokens (BPE).
    pedal : {"", "ignore"}
        What becomes of a sustain pedal that the model writes: it can only be ignored, which must be said.

    Raises
    ------
    PluginError
        If `model` is an id without a pinned `revision`, or a number is out of its range.
    """

    model: str = ""
    revision: str = ""
    tokenizer: str = ""
    context: int = 1024
    tempo: float = 120.0
    temperature: float = 1.0
    top_p: float = 1.0
    grammar: bool = True
    pedal: Literal["", "ignore"] = ""

    def __post_init__(self) -> None:
        if self.revision and self.model.startswith(("/", "~", "./", "../")):
            raise PluginError(
                f"huggingface: model is the folder {self.model}, and revision is {self.revision!r}: a folder has none.",
                "Remove revision, or give the model's id on the hub.",
            )
        if self.is_id and not COMMIT.fullmatch(self.revision):
            raise PluginError(
                f"huggingface: {self.model!r} is no folder here, and as an id on the hub it has no pinned revision "
                f"(revision is {self.revision!r}).",
                "Give the full commit, 40 hexadecimal digits: what is behind an id or a branch changes.",
            )
        for name in ("tempo", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise PluginError(f"huggingface: {name} is {getattr(self, name)}, must be above 0 and finite.")
        if self.context != int(self.context) or self.context < 2:
            raise PluginError(f"huggingface: context is {self.context}, must be a whole number of 2 or more.")
        if self.pedal not in ("", "ignore"):
            raise PluginError(f"huggingface: pedal is {self.pedal!r}, must be 'ignore' or be left out.")
        if not 0 < self.top_p <= 1:
            raise PluginError(f"huggingface: top_p is {self.top_p}, must be above 0 and at most 1.")
        self.device = torch.device("cpu")
        self.nats_per_token: float | None = None
        self._network: Any = None

    # -- weights -------------------------------------------------------------------------------------------------------

    @property
    def is_id(self) -> bool:
        """Whether `model` is an id on the hub: it has a revision, or names no folder."""
        return bool(self.model) and (bool(self.revision) or not Path(self.model).expanduser().is_dir())

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Find the model's folder: its own path, or below a root by its id and revision."""
        if self.model and not self.is_id:
            return Path(self.model).expanduser().absolute()
        whole = CHECKSUMS if self.is_id else "config.json"
        return next((folder for root in roots if ((folder := root / self._below) / whole).is_file()), None)

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the pinned revision, unless it is there and intact, and list its checksums when all is there."""
        if not self.is_id:
            raise DataError("huggingface: there is nothing to fetch without an id on the hub.", "Give --option model=ORG/NAME.")
        own = folder / self._below
        if (own / CHECKSUMS).is_file() and not self._remove_damaged(own, progress):
            return
        progress(0, 0, f"downloading {self.model}")
        try:
            _download(self.model, self.revision, own, progress)
            digests = {path.relative_to(own).as_posix(): bench.api.file_sha256(path) for path in _files(own)}
            bench.api.write_file(own / CHECKSUMS, json.dumps(digests, indent=1).encode())
        except Exception as error:  # of the hub's client, its connection and what the hub sends, each with its own
            why = str(error).rstrip(".") or type(error).__name__
            raise DataError(f"{self.model} at {self.revision} could not be downloaded: {why}.", "Try again later.") from error

    def _remove_damaged(self, own: Path, progress: Progress) -> bool:
        """Remove what isn't as it was downloaded, which the hub's client would keep; whether there was any."""
        with contextlib.suppress(DataError):  # the checksums can't be read
            if not self.verify(own, progress).differences:
                return False
            known = json.loads((own / CHECKSUMS).read_bytes())
            for path in _files(own):  # those that it doesn't know are the user's, such as a tokenizer
                name = path.relative_to(own).as_posix()
                if name in known and bench.api.file_sha256(path) != known[name]:
                    path.unlink()
        (own / CHECKSUMS).unlink(missing_ok=True)
        return True

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare a download with the checksums of its fetch; a folder of one's own has none."""
        if not self.is_id:
            return super().verify(folder, progress)
        try:
            _check_text(folder / CHECKSUMS, MOST_TEXT)
            digests = dict(json.loads((folder / CHECKSUMS).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{folder / CHECKSUMS} can't be read: {error}.", "Fetch the model again.") from error
        return bench.api.compared(folder, digests, progress)

    def fingerprint(self, source: Path) -> str:
        """Identity of the model and its tokenizer."""
        own = "" if not self.tokenizer else bench.api.content_digest(Path(self.tokenizer).expanduser())
        return super().fingerprint(source) + own

    @property
    def _below(self) -> str:
        return f"{self.model.replace('/', '--')}-{self.revision}" if self.is_id else ""

    # -- the model -----------------------------------------------------------------------------------------------------

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Learn nothing; measure nats per token on validation pieces."""
        torch.set_num_threads(run.threads)
        self.device = torch.device(run.device)
        self._load()
        pieces, most = MEASURED
        parts = [self._nats(self._encode(piece.notes)[:most]) for piece in valid[:pieces]]
        tokens = sum(map(len, parts))
        self.nats_per_token = -float(sum(part.sum() for part in parts)) / tokens if tokens else None

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by exactly `n_notes` notes. See :class:`bench.api.Model`."""
        self._load()
        results = []
        for number, prompt in enumerate(prompts):
            random = torch.Generator(self.device).manual_seed(bench.api.seed_for("huggingface", seed, number))
            results.append(in_chunks(prompt, n_notes, partial(self._more, random, len(prompt) + n_notes)))
        return results

    def facts(self) -> Mapping[str, Any]:
        """Parameter count, tokenizer, and nats per token of the validation pieces."""
        self._load()
        return {
            "parameters": sum(p.numel() for p in self._network.parameters()),
            "tokenizer": type(self._tokenizer).__name__,
            "vocabulary": len(self._tokenizer),
            "validation_nats_per_token": self.nats_per_token,
        }

    def _load(self) -> None:
        """Read tokenizer and model, once."""
        if self._network is not None:
            return
        if self.weights is None:
            raise TrialError("huggingface: it has no weights yet.", "The engine sets `weights` to what `find` returns.")
        self._tokenizer = self._read_tokenizer(self.weights)
        network = self._read_network(self.weights)
        entries = int(network.get_input_embeddings().num_embeddings)
        if entries < len(self._tokenizer):
            raise DataError(
                f"huggingface: the tokenizer has {len(self._tokenizer)} tokens, the model {entries}.",
                "They are not of one training: give the model its own tokenizer.",
            )
        positions = getattr(network.config, "max_position_embeddings", None)
        self._most = min(self.context, positions or self.context)
        self._network = network.eval().to(self.device)
        self._types, self._forbidden = self._rules(entries)

    def _read_tokenizer(self, weights: Path) -> Any:
        """Read the tokenizer beside the weights, or that of the option; refuse one that a language model can't have."""
        place = Path(self.tokenizer).expanduser() if self.tokenizer else weights
        file = place / "tokenizer.json" if place.is_dir() else place
        save = "Save it by its `save_pretrained`, beside the model or where `tokenizer` says."
        if not file.is_file():
            raise DataError(f"huggingface: there is no tokenizer of MidiTok at {file}.", save)
        _check_text(file, MOST_TEXT)
        _check_text(file.with_name("config.json"), MOST_CONFIG)  # MidiTok reads it too
        try:
            with bench.api.memory_limited(MOST_BUILT):
                # By its folder: the path of a file would be taken for an id on the hub.
                tokenizer: Any = MusicTokenizer.from_pretrained(file.parent, filename=file.name, local_files_only=True)
        except MemoryError as error:
            raise DataError(
                f"huggingface: {file} describes a tokenizer that takes more than {MOST_BUILT:,} bytes.", save
            ) from error
        except Exception as error:  # of MidiTok, symusic, tokenizers and json, each with its own
            raise DataError(
                f"huggingface: {file} is no tokenizer of MidiTok: {type(error).__name__}: {str(error).rstrip('.')}.", save
            ) from error
        if tokenizer.is_multi_voc:
            raise DataError(
                f"huggingface: {type(tokenizer).__name__} has several tokens at each position, a language model has one.",
                "Continue bench's prompts where the model runs, and score the files: `bench score`.",
            )
        if tokenizer.config.use_sustain_pedals and self.pedal != "ignore":
            raise DataError(
                "huggingface: the model writes a sustain pedal, and its notes would last only as long as their keys are down.",
                "Set pedal: ignore if the dataset's is ignored too; else score files of it, whose pedal counts: `bench score`.",
            )
        return tokenizer

    def _read_network(self, weights: Path) -> Any:
        """Read the network; refuse one whose parts aren't of one model."""
        if (weights / "adapter_config.json").exists():
            raise DataError(
                f"huggingface: {weights} holds an adapter, whose config names another model.",
                "Merge it into that model (peft's merge_and_unload), and save the whole.",
            )
        for text in (weights / "config.json", weights / "generation_config.json"):
            _check_text(text, MOST_CONFIG)
        for text in weights.glob("*.index.json"):
            _check_text(text, MOST_TEXT)
        try:
            with bench.api.memory_limited(MOST_BUILT):
                config, size = _checked_config(weights)
            # A pickle or a tensor of stride 0 may claim any size, whatever the config says.
            with bench.api.memory_limited(MOST_LOADED * size + MOST_BUILT):
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    weights,
                    config=config,
                    local_files_only=True,
                    dtype=torch.float32,
                    trust_remote_code=False,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are refused below, by name
                )
            network, found = loaded
        except DataError:
            raise
        except Exception as error:  # of transformers, safetensors, torch and pickle, each with its own
            why = str(error) or type(error).__name__
            raise DataError(
                f"huggingface: {weights} holds no causal language model of transformers: {why}",
                "Save it by its `save_pretrained`, or fetch it again.",
            ) from error
        self._check(found)
        return network

    def _check(self, found: Mapping[str, Any]) -> None:
        """Refuse weights that aren't the model's: transformers draws what is missing, passes over the rest, and logs it."""
        missing, others = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
        if resized := sorted(found["mismatched_keys"]):
            name, saved, built = resized[0]
            raise DataError(
                f"huggingface: {len(resized)} of the weights in {self.weights} don't fit its config.json, such as {name} "
                f"with the shape {tuple(saved)} instead of {tuple(built)}.",
                "They are not of one model: fetch or save both again.",
            )
        if missing:
            instead = f"; it has {others[0]}, which the model doesn't know" if others else ""
            raise DataError(
                f"huggingface: {self.weights} lacks {len(missing)} of the model's weights, such as {missing[0]}{instead}.",
                "Save the whole model, with its head and without a wrapper such as torch.compile's, by its `save_pretrained`.",
            )
        if further := [name for name in others if not _CONSTANT.fullmatch(name)]:
            raise DataError(
                f"huggingface: {self.weights} has {len(further)} weights for which the model of its config.json has no place, "
                f"such as {further[0]}.",
                "Correct config.json, such as the number of layers; if they are no part of the model, load and save it once.",
            )

    def _rules(self, size: int) -> tuple[dict[int, str], dict[str, torch.Tensor]]:
        """Type of each token, and for each type the tokens that may not follow, as a mask (size,).

        These are special tokens and those that the grammar forbids. Without a grammar all tokens are of the type ``""``.
        """
        never = torch.zeros(size, dtype=torch.bool, device=self.device)
        never[self._tokenizer.special_tokens_ids] = True
        never[len(self._tokenizer) :] = True
        if not self.grammar or self._tokenizer.is_trained:
            return {}, {"": never}
        types = {token: name.partition("_")[0] for name, token in self._tokenizer.vocab.items()}
        forbidden = dict.fromkeys(types.values(), never)
        # A mask of its own for the few types of the grammar alone: special tokens, of any number, come at the start at most.
        drawn = {kind for token, kind in types.items() if not never[token]} | {"BOS", types.get(0, "")}
        for kind in forbidden.keys() & self._tokenizer.tokens_types_graph.keys() & drawn:
            if followers := self._tokenizer.tokens_types_graph[kind]:
                forbidden[kind] = never.clone()
                forbidden[kind][[token for token, own in types.items() if own not in followers]] = True
        return types, forbidden

    # -- notes and tokens ----------------------------------------------------------------------------------------------

    def _encode(self, notes: Notes) -> list[int]:
        """Encode notes, the first of which begins at 0."""
        with bench.api.memory_limited(MOST_BUILT):  # a tokenizer may make any text of a token before it merges
            tokens = self._tokenizer(to_score(notes, RESOLUTION, self.tempo))
        if isinstance(tokens, list):  # one for each track; none where no note is in the tokenizer's range of pitches
            return list(tokens[0].ids) if tokens else []
        return list(tokens.ids)

    def _decode(self, tokens: list[int]) -> Notes:
        """Decode tokens to notes without drums, in seconds at the tempo of the encoding: that of tokens has no effect."""
        score = self._tokenizer.decode(tokens if self._tokenizer.one_token_stream else [tokens])
        tracks = [track.notes.numpy() for track in score.tracks if not track.is_drum]
        columns = [np.concatenate([np.empty(0, np.int64), *(t[name] for t in tracks)]) for name in _COLUMNS]
        sounding = (columns[1] > 0) & (columns[3] > 0)
        return from_ticks(Ticks(*(column[sounding] for column in columns)), score.ticks_per_quarter, self.tempo)

    def _more(self, random: torch.Generator, total: int, notes: Notes) -> Notes:
        """Continue notes by those of one chunk of tokens, towards a total."""
        heard, given = self._heard(notes)
        before = self._decode(given) if given else Notes.concatenate([])
        after = self._decode(given + self._draw(given, random, max(FEW, TOKENS * (total - len(notes)))))
        left = Counter(_rows(before))
        new = []
        for index, row in enumerate(_rows(after)):
            if left[row]:
                left[row] -= 1
            elif not len(before) or row[0] >= before.onset[-1]:  # nothing is inserted among what was heard
                new.append(index)
        chunk = Notes.from_columns(after.onset[new], after.duration[new], after.pitch[new], after.velocity[new])
        if not len(chunk):
            return chunk
        if not len(before):  # nothing was heard, or nothing in the tokenizer's range of pitches
            return chunk.shifted((heard.onset[-1] if len(heard) else 0.0) - chunk.onset[0])
        return chunk.shifted(heard.onset[-1] - before.onset[-1])

    def _heard(self, notes: Notes) -> tuple[Notes, list[int]]:
        """Return the last notes whose tokens leave room for a chunk in the context, and these tokens."""
        room = max(1, self._most - min(CHUNK, self._most // 2))
        heard = notes
        while len(heard):
            start = heard.onset[0]
            tokens = self._encode(Notes.from_columns(heard.onset - start, heard.duration, heard.pitch, heard.velocity))
            if len(tokens) <= room or len(heard) == 1:
                return heard, tokens[:room]
            # Fewer by the share that is too much, and one to be sure that it ends.
            heard = heard[len(heard) - min(len(heard) - 1, len(heard) * room // len(tokens)) :]
        return heard, []

    @torch.inference_mode()
    def _draw(self, given: list[int], random: torch.Generator, most: int) -> list[int]:
        """Draw the tokens of a chunk after those that are given, `most` at most."""
        start = given or [self._tokenizer["BOS_None"] if "BOS_None" in self._tokenizer.vocab else 0]
        inputs, past, drawn = torch.tensor([start], device=self.device), None, list[int]()
        last = start[-1]
        for _ in range(min(CHUNK, most, self._most - len(start))):
            output = self._network(input_ids=inputs, past_key_values=past, use_cache=True)
            logits = output.logits[0, -1].masked_fill(self._forbidden[self._types.get(last, "")], -math.inf)  # (vocabulary,)
            last = int(torch.multinomial(_nucleus(torch.softmax(logits / self.temperature, -1), self.top_p), 1, generator=random))
            drawn.append(last)
            inputs, past = torch.tensor([[last]], device=self.device), output.past_key_values
        return drawn

    @torch.inference_mode()
    def _nats(self, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Log probability of each token after the first, given those before it in its window of the context."""
        results = [np.empty(0)]
        for start in range(0, len(tokens) - 1, self._most - 1):
            window = torch.tensor([tokens[start : start + self._most]], device=self.device)
            log_p = torch.log_softmax(self._network(input_ids=window).logits[0, :-1].double(), -1)
            results.append(log_p.gather(1, window[0, 1:, None])[:, 0].cpu().numpy())
        return np.concatenate(results)


def _rows(notes: Notes) -> list[tuple[float, int, int]]:
    """Onset, pitch and velocity of each note: what further tokens don't change."""
    return list(zip(notes.onset.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True))


def _nucleus(p: torch.Tensor, top_p: float) -> torch.Tensor:
    """Probabilities without those beyond the most probable tokens that together have `top_p`."""
    if top_p >= 1:
        return p
    ordered, order = p.sort(descending=True)
    # On the processor: on a GPU the sums are rounded in another order each time.
    beyond = (ordered.cpu().cumsum(0).to(p.device) - ordered) >= top_p
    return p.masked_fill(beyond.new_zeros(beyond.shape).scatter(0, order, beyond), 0.0)


def _files(own: Path) -> list[Path]:
    """List the files of a download, without those that the hub's client keeps for itself, and the list of their checksums."""
    parts = ((path, path.relative_to(own).parts) for path in own.rglob("*") if path.is_file())
    return sorted(path for path, names in parts if ".cache" not in names and names != (CHECKSUMS,))


def _download(model: str, revision: str, to: Path, progress: Progress) -> None:
    """Download the files of a revision from the hub, with bounds that its own client lacks.

    No more files, and no more bytes of each, than the hub has announced, in a time in proportion to them; and only from such
    addresses as the hub's.

    Raises
    ------
    RefusedError
        If that isn't so.
    OSError
        If a file has more bytes than were announced.
    """
    from huggingface_hub import HfApi, constants, get_session, hf_hub_download, set_client_factory

    constants.HF_HUB_DISABLE_XET = True  # a client of its own, without these bounds
    client, seen = type(get_session()), [*get_session().event_hooks["request"], _examiner()]
    # Not this session alone: after an error the hub's client opens another.
    set_client_factory(lambda: client(event_hooks={"request": seen}, follow_redirects=True, timeout=None))
    with _deadline(PATIENCE), bench.api.memory_limited(MOST_BUILT):
        tree = HfApi().list_repo_tree(model, recursive=True, revision=revision)
        entries = [*itertools.islice(tree, MOST_FILES + 1)]
    if len(entries) > MOST_FILES:
        raise RefusedError(f"it has more than {MOST_FILES:,} files")
    left_out = (*OTHERS, CHECKSUMS)  # in the place of ours it would be taken for a complete download
    files = [(e.path, e.size) for e in entries if hasattr(e, "size") and not any(fnmatch(e.path, like) for like in left_out)]
    if any(type(size) is not int or size < 0 for _, size in files):
        raise RefusedError("the hub states no size of a file")
    total, done = sum(size for _, size in files), 0
    if not files:
        raise RefusedError("the hub lists no file")
    if total > MOST_BYTES:
        raise RefusedError(f"it has {total:,} bytes, and may have {MOST_BYTES:,}")
    for path, size in files:
        progress(done, total, f"downloading {path}")
        try:
            with (
                _deadline(PATIENCE * (2 + size / SLOWEST)),
                _files_limited(size + SLOWEST),
                bench.api.memory_limited(MOST_ANSWER),
            ):
                hf_hub_download(model, path, revision=revision, local_dir=to)
        except MemoryError:  # its client reads the whole of an answer that is no file, and unpacks it
            raise RefusedError(f"an answer takes more than {MOST_ANSWER:,} bytes of memory") from None
        done += size


def _examiner() -> Callable[[Any], None]:
    """Make a function that sees each request of a client, those that redirects lead to included.

    It refuses, by a RefusedError, a private address after a public one, and http after https.
    """
    public, secure = list[bool](), list[bool]()

    def examine(request: Any) -> None:
        secure.append(request.url.scheme == "https")
        if secure[0] and not secure[-1]:
            raise RefusedError(f"it redirects to {request.url}")
        with contextlib.suppress(socket.gaierror):  # behind a proxy only that may know the name
            found = socket.getaddrinfo(request.url.host, None, type=socket.SOCK_STREAM)
            public.append(all(is_public(str(address[0])) for *_, address in found))
            if public[0] and not public[-1]:
                raise RefusedError(f"{request.url.host} is at a private address")

    return examine


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise a RefusedError, which no client takes for a reason to try again, if the block takes longer; in the main thread."""

    def late(*_: object) -> None:
        raise RefusedError(f"it took longer than {seconds:,.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # and again: the hub's client passes over some errors
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _files_limited(most: int) -> Iterator[None]:
    """Let no file that this process writes in the block have more bytes: an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = (most, *(limit for limit in before if limit != resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(limits), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _check_text(file: Path, most: int) -> None:
    """Refuse a text of more bytes, before it is read; one that isn't there has none."""
    if file.is_file() and (size := file.stat().st_size) > most:
        raise DataError(
            f"huggingface: {file} has {size:,} bytes, and may have {most:,}.",
            "Save it by its `save_pretrained`, or fetch it again.",
        )


def _checked_config(folder: Path) -> tuple[Any, int]:
    """Read the config of a model, and count the bytes of its weights; refuse one that describes more, before that is allocated.

    Raises
    ------
    DataError
        If so, if the weights are compressed, as nothing that saves them does, or if it names code that would be downloaded.
    """
    size = 0
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        with file.open("rb") as weights:
            size += bench.api.data_bytes(weights.fileno(), file.stat().st_size)  # a file of holes has none
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as parts:
                if any(part.compress_type for part in parts.infolist()):
                    raise DataError(f"huggingface: {file} is compressed: it may hold any weights.", "Save the model again.")
    if not size:
        raise DataError(
            f"huggingface: {folder} holds no causal language model of transformers: it has no *.safetensors or *.bin.",
            "Save it by its `save_pretrained`, or fetch it again.",
        )
    larger = DataError(
        f"huggingface: the config.json in {folder} describes a larger model than its weights, {size:,} bytes.",
        "They are not of one model, or a file was cut off: fetch or save both again.",
    )
    # A config alone may make lists, with an item for each layer. Of rotary embeddings there are numbers that count nothing.
    for name, number in _numbers("", json.loads((folder / "config.json").read_bytes())):
        if "theta" not in name and number > (size if "layer" in name else max(size, MOST_COUNTED)):
            raise larger
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config._attn_implementation not in (None, "eager", "sdpa"):  # others are downloaded where they aren't installed
        raise DataError(
            f"huggingface: the config.json in {folder} asks for an attention kernel, {config._attn_implementation}.",
            "Remove attn_implementation from it.",
        )
    left = {"weights": MOST_NUMBERS * size, "tables": MOST_NUMBERS * size + MOST_TABLES}

    def count(kind: str, numbers: int) -> None:
        left[kind] -= max(1, numbers)  # of nothing there may be any number, too
        if left[kind] < 0:
            raise larger

    hooks = (
        register_module_parameter_registration_hook(lambda *new: count("weights", 0 if new[2] is None else new[2].numel())),
        register_module_buffer_registration_hook(lambda *new: count("tables", 0 if new[2] is None else new[2].nbytes)),
    )
    models: Any = AutoModelForCausalLM  # whose methods transformers gives no types
    try:
        with torch.device("meta"):  # shapes alone
            models.from_config(config, trust_remote_code=False)
    except MemoryError as error:
        raise larger from error
    finally:
        for hook in hooks:
            hook.remove()
    return config, size


def _numbers(name: str, value: Any) -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of a config, each with the name that it has there."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(key, part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(name, part)
    elif isinstance(value, int):
        yield name, value
