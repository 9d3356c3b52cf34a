"""K-fold cross-validation over a dataset's pieces: the held-out, training and validation pieces of each fold.

Each fold is held out once, and the pieces of all others are for training and validation. Folds consist of compositions, not of
single pieces: two performances of one work are in the same fold. Only compositions with a piece that is compared are assigned to
folds; the others (too short to be continued, or beyond the protocol's number of pieces) are for training in every fold. The
assignment depends on hashes of the compositions' names alone, not on the order of files or the machine.

Source: Stone, M. (1974). Cross-validatory choice and assessment of statistical predictions. J. R. Stat. Soc. B 36(2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.api import Notes, Piece, seed_for
from bench.errors import DataError
from bench.metrics.copying import measure_samples
from bench.specs.schema import LEAVE_ONE_OUT, Protocol
from bench.storage.corpus import Corpus
from bench.storage.outcome import Copying, Originality
from bench.storage.records import Fold, Folds
from bench.storage.samples import Target, Targets

#: Additions to the name of a work in a title: an album, an arranger, a take.
_BRACKETS = re.compile(r"\([^)]*\)|\[[^\]]*\]")


@dataclass(frozen=True)
class Division:
    """Music of one training: a fold of a dataset, or the dataset's own split.

    Parameters
    ----------
    fold : int or None
        Number of the fold, from 1; None for the dataset's own split.
    corpus : Corpus
        Training, validation and held-out pieces.
    pieces : tuple of int
        Indices of the held-out pieces in the run's test split, which with folds is the complete dataset.
    places : tuple of int
        Indices into targets.npz of the targets that are held out.
    """

    fold: int | None
    corpus: Corpus
    pieces: tuple[int, ...]
    places: tuple[int, ...]


def pooled(corpus: Corpus) -> Corpus:
    """Move all pieces of a corpus into its test split: training, validation, then test pieces.

    Noise and entropy are of its own test pieces, and dropped.
    """
    pieces = (*corpus.train, *corpus.validation, *corpus.test)
    return replace(corpus, train=(), validation=(), test=pieces, noise=None, entropy=None)


def composition(piece: Piece) -> str:
    """Name the composition of a piece: its group; else composer and title without case, punctuation and brackets; else its id."""
    if piece.group.strip():
        return f"\x1f\x1f\x1f{piece.group}"
    title = _letters(_BRACKETS.sub(" ", piece.title)) or _letters(piece.title)
    return f"{_letters(piece.composer)}\x1f{title}" if title else f"\x1f\x1f{piece.id}"


def deal(pieces: Sequence[Piece], compared: Sequence[int], protocol: Protocol) -> tuple[Fold, ...]:
    """Assign the compositions of the compared pieces to folds, and choose each fold's validation pieces.

    The largest compositions are assigned first, those of equal size in the order of their names' hashes, each to the fold with
    the fewest pieces so far. Folds of single-piece compositions differ by at most one piece.

    Parameters
    ----------
    pieces : sequence of Piece
        All pieces of the dataset.
    compared : sequence of int
        Indices of the pieces that must be held out once.
    protocol : Protocol
        Its `folds` is not None.

    Returns
    -------
    tuple of Fold
        In the order of their first piece.

    Raises
    ------
    DataError
        If there are more folds than compositions, or a fold leaves fewer than two compositions for training and validation.
    """
    works: dict[str, list[int]] = {}
    for index, piece in enumerate(pieces):
        works.setdefault(composition(piece), []).append(index)
    dealt = list(dict.fromkeys(composition(pieces[i]) for i in compared))
    number = _number(protocol, len(dealt), len(pieces))
    order = sorted(dealt, key=lambda name: (-len(works[name]), seed_for("fold", name), name))
    hands: list[list[str]] = [[] for _ in range(number)]
    sizes = [0] * number
    for name in order:
        smallest = sizes.index(min(sizes))
        hands[smallest].append(name)
        sizes[smallest] += len(works[name])
    tests = sorted(tuple(sorted(i for name in hand for i in works[name])) for hand in hands)
    validation = [_validation(pieces, works, test, protocol.validation) for test in tests]
    return tuple(Fold(number=k, test=t, validation=v) for k, (t, v) in enumerate(zip(tests, validation, strict=True), 1))


def read_folds(facts: Mapping[str, Any]) -> tuple[Fold, ...]:
    """Read the folds from the facts of targets.npz; empty for a dataset's own split."""
    return Folds.model_validate(facts["folds"]).folds if facts.get("folds") else ()


def divide(corpus: Corpus, stored: Targets) -> list[Division]:
    """Divide a corpus into one division per fold, or into the dataset's own split alone.

    Parameters
    ----------
    corpus : Corpus
        In the dataset's own split.
    stored : Targets
        Targets of the run; their facts hold the folds.
    """
    folds = read_folds(stored.facts)
    if not folds:
        return [Division(None, corpus, tuple(range(len(corpus.test))), tuple(range(len(stored.targets))))]
    pool = pooled(corpus)
    return [_division(pool, fold, stored.targets) for fold in folds]


def choose_division(corpus: Corpus, stored: Targets, fold: int | None) -> Division:
    """Select the division of one trial: that of its fold, or the dataset's own split."""
    return next(division for division in divide(corpus, stored) if division.fold == fold)


def measure_divisions(
    divisions: Sequence[Division],
    samples: Mapping[tuple[int, int], Notes],
    targets: Sequence[Target],
    takes_prompt: bool = True,
) -> Originality:
    """Measure the originality of samples, each against the training pieces of its own division.

    Returns
    -------
    Originality
        Of all samples in the order of their keys, and of all targets.
    """
    by_sample: dict[tuple[int, int], tuple[Any, ...]] = {}
    by_target: dict[int, tuple[Any, ...]] = {}
    for division in divisions:
        keys = [key for key in sorted(samples) if key[0] in division.places]
        own = {(division.places.index(piece), sample): samples[piece, sample] for piece, sample in keys}
        copied = measure_samples(division.corpus.train, own, [targets[i] for i in division.places], takes_prompt)
        by_sample |= zip(keys, copied.samples.rows(), strict=True)
        by_target |= zip(division.places, copied.targets.rows(), strict=True)
    return Originality(
        samples=Copying.of_rows(by_sample[key] for key in sorted(by_sample)),
        targets=Copying.of_rows(by_target[piece] for piece in sorted(by_target)),
    )


def fold_remarks(folds: Sequence[Fold], corpus: Corpus, short: int, needed: int) -> list[str]:
    """List the report's remarks on the folds. `corpus` is in the dataset's own split."""
    sentences = []
    if corpus.test or corpus.validation:
        sentences.append(
            "All pieces of the dataset are assigned to folds: its own split, and its remarks on that split, do not apply"
        )
    pieces = len(corpus.train) + len(corpus.validation) + len(corpus.test)
    if short:
        has = "has" if short == 1 else "have"
        sentences.append(
            f"{short} of {pieces} pieces {has} fewer than {needed} notes, too few to be continued: "
            f"{'it is' if short == 1 else 'they are'} not compared"
        )
    if always := pieces - sum(len(fold.test) for fold in folds):
        sentences.append(
            f"{always} of {pieces} pieces {'is' if always == 1 else 'are'} never held out, only used for training or validation"
        )
    return sentences


def _number(protocol: Protocol, works: int, pieces: int) -> int:
    number = works if protocol.folds == LEAVE_ONE_OUT else int(protocol.folds or 0)
    have = f"{works} {'composition' if works == 1 else 'compositions'} (of {pieces} pieces) can be held out"
    if works < 2:
        raise DataError(f"protocol.folds needs at least 2 compositions, but {have}.", "Select more of the dataset.")
    if number > works:
        raise DataError(
            f"protocol.folds asks for {number} folds, but {have}.",
            f"Ask for at most {works} folds or `folds: {LEAVE_ONE_OUT}`; pieces with too few notes, or above protocol.pieces, "
            "are not held out.",
        )
    return number


def _validation(
    pieces: Sequence[Piece], works: Mapping[str, Sequence[int]], test: Sequence[int], share: float
) -> tuple[int, ...]:
    """Choose about `share` of the pieces outside the fold for validation, in complete compositions.

    At least one composition is chosen, and at least one is left for training.
    """
    held = {composition(pieces[i]) for i in test}
    fold = "\x1f".join(sorted(held))
    others = sorted((name for name in works if name not in held), key=lambda name: (seed_for("validation", fold, name), name))
    if len(others) < 2:
        raise DataError(
            f"A fold of {len(test)} pieces leaves {len(others)} composition to learn from and choose by; 2 are needed.",
            "Ask for more folds, or select more of the dataset." if len(works) > 2 else "Select more of the dataset.",
        )
    wanted = max(1.0, share * sum(len(works[name]) for name in others))
    chosen: list[int] = []
    for name in others[:-1]:
        # A composition is added if that comes closer to the share than leaving it out.
        if chosen and len(chosen) + len(works[name]) / 2 > wanted:
            break
        chosen += works[name]
    return tuple(sorted(chosen))


def _division(pool: Corpus, fold: Fold, targets: Sequence[Target]) -> Division:
    apart = {*fold.test, *fold.validation}
    corpus = replace(
        pool,
        train=tuple(piece for i, piece in enumerate(pool.test) if i not in apart),
        validation=tuple(pool.test[i] for i in fold.validation),
        test=tuple(pool.test[i] for i in fold.test),
    )
    places = tuple(i for i, target in enumerate(targets) if target.piece.index in fold.test)
    return Division(fold.number, corpus, fold.test, places)


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
