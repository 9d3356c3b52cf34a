"""What the statistics promise, by simulation: coverage, false positives, power. ``docs/statistics.md`` has the tables.

``python -m tests.scoring.simulation`` prints them in about half a minute, 4 000 drawn runs a cell; a number after it is another
count. ``python -m tests.scoring.simulation FOLDER ...`` prints the variance components of the runs in these folders together.

Variance components are those of the chorales' Table 2 at scale cpu: ten trainings of each network, of two runs with five seeds
each; 50 pieces, for bits per note 62. Estimates below zero are 0. Beside them a GAN as wild as two machines showed, and one on
pieces unlike each other. Seed effects of heavy tails are Student's with three degrees of freedom, scaled to the same variance.

For speed, all runs of a cell are computed at once, by :class:`Parts`; a test holds it equal to what is shipped.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.scoring.crossed import KNOWN, Scalars, Variance, effective_number, squared_limit, variance
from bench.scoring.score import score_run
from bench.scoring.stats import ALPHA, detectable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """Standard deviations of a metric of one kind of system: between trainings, between pieces, and what is left.

    `shared` is the part of the pieces' variance that all systems have: what is hard for one is hard for the other. In a
    `weighted` mean each piece counts by its length, 97 to 538 notes as of the chorales held out.
    """

    name: str
    seeds: float
    pieces: float
    rest: float
    shared: float = 0.95
    weighted: bool = False

    def weights(self, pieces: int) -> Array | None:
        return np.linspace(97, 538, pieces) if self.weighted else None

    def worth(self, pieces: int) -> float:
        weights = self.weights(pieces)
        return pieces if weights is None else effective_number(weights)


PITCH = (
    Family("LSTM pitch", 0.056, 0.322, 0.323),
    Family("Transformer pitch", 0.0, 0.324, 0.347),
    Family("Music Transformer pitch", 0.029, 0.337, 0.331),
    Family("GAN pitch", 0.225, 0.271, 0.368),
    Family("VAE pitch", 0.062, 0.286, 0.342),
)
VELOCITY = (
    Family("LSTM velocity", 0.045, 0.229, 0.336),
    Family("Transformer velocity", 0.0, 0.273, 0.333),
    Family("Music Transformer velocity", 0.013, 0.275, 0.322),
    Family("GAN velocity", 0.116, 0.261, 0.362),
    Family("VAE velocity", 0.017, 0.254, 0.322),
)
BITS = (
    Family("LSTM bits", 0.094, 0.680, 0.089, 0.99, weighted=True),
    Family("Transformer bits", 0.064, 0.681, 0.067, 0.99, weighted=True),
    Family("Music Transformer bits", 0.052, 0.683, 0.063, 0.99, weighted=True),
    Family("VAE bits", 0.091, 0.687, 0.079, 0.99, weighted=True),
)
MEASURED = (*PITCH, *VELOCITY, *BITS)

LSTM, GAN = PITCH[0], PITCH[3]
WILD = Family("wild GAN pitch", 0.4, 0.271, 0.368)
WIDE = Family("wild GAN, unlike pieces", 0.4, 2.0, 1.0)
REAL = Family("real pitch", 0.031, 0.270, 0.334, 0.85)
MEDIAN = Family("median pitch", 0.0, 0.441, 0.0, 0.85)
#: The pieces' differences of two of these vary about as much as their seeds do.
ALIKE = Family("alike", 0.07, 1.0, 0.1)
FAMILIES = (*MEASURED, WILD, WIDE, REAL, MEDIAN)

PITCH_REFERENCES = (
    REAL,
    MEDIAN,
    Family("shuffle pitch", 0.0, 0.550, 0.220, 0.85),
    Family("unigram pitch", 0.027, 0.300, 0.255, 0.85),
    Family("markov pitch", 0.0, 0.306, 0.269, 0.85),
    Family("ngram pitch", 0.003, 0.308, 0.261, 0.85),
    Family("uniform pitch", 0.068, 0.108, 0.570, 0.85),
)
BITS_REFERENCES = (
    Family("unigram bits", 0.0, 0.545, 0.0, 0.5, weighted=True),
    Family("markov bits", 0.0, 0.685, 0.0, 0.75, weighted=True),
    Family("ngram bits", 0.0, 1.046, 0.0, 0.9, weighted=True),
)

#: Columns of a table, the networks first. Distances of pitch have 12 rows and 66 pairs, as in the report.
TABLES = {
    "pitch, 5 networks": PITCH,
    "pitch, 12 rows": (*PITCH, *PITCH_REFERENCES),
    "velocity, 5 networks": VELOCITY,
    "bits, 7 rows": (*BITS, *BITS_REFERENCES),
    "wild GAN and real": (WILD, REAL),
}


@dataclass(frozen=True)
class Parts:
    """:class:`bench.scoring.crossed.Variance` of many runs at once, each field a number or of shape (runs,)."""

    seeds: Scalars
    seeds_df: Scalars
    pieces: Scalars
    pieces_df: float
    rest: Scalars
    rest_df: Scalars

    @cached_property
    def total(self) -> Scalars:
        return np.maximum(self.seeds + self.pieces - self.rest, self.pieces)

    @cached_property
    def df(self) -> Scalars:
        parts = ((self.seeds, self.seeds_df), (self.pieces, self.pieces_df), (self.rest, self.rest_df))
        with np.errstate(invalid="ignore"):
            free = np.maximum(1.0, self.total**2 / sum(part**2 / df for part, df in parts))
        return np.where(np.asarray(self.seeds) <= self.rest, self.pieces_df, free)

    def t_limit(self, alpha: float) -> Array:
        """Satterthwaite's limit, by which intervals of three seeds and more go."""
        return student(self.total, self.df, alpha)

    def squared(self, alpha: float) -> Array:
        """Squared limits, by which tests and intervals of two seeds go."""
        own = np.maximum(np.asarray(self.pieces) - self.rest, 0.0)
        return squared_limit(alpha, self.seeds, self.seeds_df, own, self.pieces, self.pieces_df)


def student(variance: Scalars, df: Scalars, alpha: float) -> Array:
    limit: Array = -special.stdtrit(df, alpha / 2) * np.sqrt(variance)
    return limit


def parts_of(matrices: Array, worth: float) -> Parts:
    """Split the variance of each run's mean, `matrices` of shape (runs, seeds, pieces)."""
    seeds, pieces = matrices.shape[1:]
    factor = worth / (worth - 1) / pieces
    by_seed, by_piece = matrices.mean(2), matrices.mean(1)
    between, pieces_df = by_piece.var(1) * factor, max(1.0, worth - 1)
    if seeds < 2:
        return Parts(0.0, KNOWN, between, pieces_df, 0.0, KNOWN)
    rest = matrices - by_seed[:, :, None] - by_piece[:, None] + matrices.mean((1, 2))[:, None, None]
    within = (rest**2).mean((1, 2)) / (seeds - 1) * factor
    return Parts(by_seed.var(1, ddof=1) / seeds, seeds - 1, between, pieces_df, within, (seeds - 1) * pieces_df)


def parts_of_difference(one: Array, other: Array, worth: float) -> Parts:
    """Split the variance of each run's difference of two systems on the same pieces."""
    a, b = parts_of(one, worth), parts_of(other, worth)
    paired = parts_of(one.mean(1, keepdims=True) - other.mean(1, keepdims=True), worth)
    seeds = np.asarray(a.seeds + b.seeds)
    with np.errstate(invalid="ignore"):
        welch = np.where(seeds > 0, seeds**2 / (a.seeds**2 / a.seeds_df + b.seeds**2 / b.seeds_df), KNOWN)
    # The degrees of freedom of the rest are in no limit.
    return Parts(seeds, welch, paired.pieces, paired.pieces_df, a.rest + b.rest, KNOWN)


def contributions(matrices: Array, weights: Array | None) -> Array:
    if weights is None:
        return matrices
    shares = weights / weights.mean()
    mean = (matrices * shares).mean((1, 2))[:, None, None]
    result: Array = mean + (matrices - mean) * shares
    return result


def effects(rng: np.random.Generator, shape: tuple[int, ...], heavy: bool) -> Array:
    """Effects of trainings with variance 1."""
    return rng.standard_t(3, shape) / math.sqrt(3) if heavy else rng.normal(size=shape)


def draw(rng: np.random.Generator, family: Family, seeds: int, hard: Array, *, heavy: bool = False) -> tuple[Array, Array]:
    """Draw runs of a method whose true mean is 0: contributions to it, (runs, seeds, pieces), and the pieces' part of them.

    `hard`, shape (runs, 1, pieces), is how hard each piece is for all systems.
    """
    runs, _, pieces = hard.shape
    own = rng.normal(size=hard.shape)
    level = family.pieces * (math.sqrt(family.shared) * hard + math.sqrt(1 - family.shared) * own)
    trained = family.seeds * effects(rng, (runs, seeds, 1), heavy)
    drawn = level + trained + family.rest * rng.normal(size=(runs, seeds, pieces))
    weights = family.weights(pieces)
    levels: Array = np.average(level[:, 0], axis=1, weights=weights)
    return contributions(drawn, weights), levels


@dataclass(frozen=True)
class Coverage:
    """Share of 95 % intervals that contain the method's mean, and of rerun ranges that contain the mean of another run.

    `crossed` and `squared` are of the two rules for the interval, whichever is shipped for so many seeds; `wider` is the mean
    width by squared limits over that of the crossed t.
    """

    shipped: float
    crossed: float
    squared: float
    wider: float
    rerun: float


def coverage(family: Family, seeds: int, pieces: int, runs: int, *, heavy: bool = False, seed: int = 0) -> Coverage:
    rng = np.random.default_rng(seed)
    values, level = draw(rng, family, seeds, rng.normal(size=(runs, 1, pieces)), heavy=heavy)
    parts = parts_of(values, family.worth(pieces))
    mean = values.mean((1, 2))
    crossed, squared = parts.t_limit(ALPHA), parts.squared(ALPHA)
    by_crossed, by_squared = (float((np.abs(mean) <= limit).mean()) for limit in (crossed, squared))
    # The same command with other seeds: the same pieces, and what is left averages out as in the mean.
    trained = family.seeds * effects(rng, (runs, seeds), heavy).mean(1)
    again = level + trained + family.rest / math.sqrt(seeds * family.worth(pieces)) * rng.normal(size=runs)
    reach = student(values.mean(2).var(1, ddof=1) * 2 / seeds, seeds - 1, ALPHA) if seeds > 1 else np.zeros(runs)
    rerun = float((np.abs(again - mean) <= reach + 1e-12).mean())
    wider = float(squared.mean() / crossed.mean())
    return Coverage(by_squared if seeds == 2 else by_crossed, by_crossed, by_squared, wider, rerun)


def table(
    systems: Sequence[Family], seeds: int, pieces: int, runs: int, *, heavy: bool = False, better: float = 0.0, seed: int = 0
) -> list[tuple[Array, Parts]]:
    """Draw a column: difference and variance in each run, for every pair. The first system is better by so much."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(runs, 1, pieces))
    drawn = [draw(rng, family, seeds, hard, heavy=heavy)[0] for family in systems]
    drawn[0] = drawn[0] - better
    worth = systems[0].worth(pieces)
    pairs = combinations(drawn, 2)
    return [(one.mean((1, 2)) - other.mean((1, 2)), parts_of_difference(one, other, worth)) for one, other in pairs]


def false_positives(
    systems: Sequence[Family], seeds: int, pieces: int, runs: int, *, heavy: bool = False, seed: int = 0
) -> float:
    """Share of tables of equal methods in which any pair is called different: the family-wise error rate.

    By Holm, any is where one is at his first step, at the level over the number of pairs.
    """
    pairs = table(systems, seeds, pieces, runs, heavy=heavy, seed=seed)
    return float(np.any([np.abs(d) > parts.squared(ALPHA / len(pairs)) for d, parts in pairs], axis=0).mean())


def expected(one: Family, other: Family, seeds: int, pieces: int) -> Variance:
    """What the parts of the variance of a difference are on average, which a run can only estimate."""
    worth = one.worth(pieces)
    of_seeds = [(f.seeds**2 + f.rest**2 / worth) / seeds for f in (one, other)]
    rest = (one.rest**2 + other.rest**2) / seeds / worth
    unshared = (math.sqrt(one.shared) * one.pieces - math.sqrt(other.shared) * other.pieces) ** 2
    unshared += (1 - one.shared) * one.pieces**2 + (1 - other.shared) * other.pieces**2
    df = sum(of_seeds) ** 2 / sum(part**2 / (seeds - 1) for part in of_seeds)
    return Variance(sum(of_seeds), df, unshared / worth + rest, worth - 1, rest, 2 * (seeds - 1) * (worth - 1))


def power(systems: Sequence[Family], pair: tuple[int, int], seeds: int, pieces: int, runs: int) -> tuple[float, float]:
    """Detectable difference of a pair of `systems`, at Holm's first step, and how often it is found there."""
    level = ALPHA / math.comb(len(systems), 2)
    one, other = (systems[i] for i in pair)
    size = detectable(expected(one, other, seeds, pieces), level)
    ((difference, parts),) = table((one, other), seeds, pieces, runs, better=size)
    return size, float((np.abs(difference) > parts.squared(level)).mean())


def rules(one: Family, other: Family, seeds: int, pieces: int, runs: int, levels: Sequence[float]) -> dict[float, list[float]]:
    """False positives of one pair of equal methods, as a multiple of the level, by this rule and by others in its place.

    The others: the crossed t; the larger p of a test over pieces and of Welch's over seeds; pieces alone.
    """
    ((difference, parts),) = table((one, other), seeds, pieces, runs)
    rates = {}
    for level in levels:
        on_pieces = student(parts.pieces, parts.pieces_df, level)
        both = np.maximum(on_pieces, student(parts.seeds, parts.seeds_df, level))
        limits = (parts.squared(level), parts.t_limit(level), both, on_pieces)
        rates[level] = [float((np.abs(difference) > limit).mean() / level) for limit in limits]
    return rates


def components(values: Array) -> tuple[float, float, float]:
    """Estimate the standard deviations between trainings, between pieces and of what is left, from (seeds, pieces)."""
    parts, (seeds, pieces) = variance(values), values.shape
    squares = (parts.seeds - parts.rest) * seeds, (parts.pieces - parts.rest) * pieces, parts.rest * seeds * pieces
    between, level, rest = (math.sqrt(max(0.0, square)) for square in squares)
    return between, level, rest


def measure(folders: Sequence[Path]) -> None:
    """Print the components of each row over the trainings of all these runs, which have other seeds."""
    tables = [score_run(folder) for folder in folders]
    for row in tables[0].rows:
        for metric in ("pitch_distance", "velocity_distance", "bits_per_note"):
            by_seed = {seed: values for t in tables for seed, values in t[row.system].cells[metric].by_seed.items()}
            if len(by_seed) > 1:
                values = np.array([[values[piece] for piece in sorted(values)] for values in by_seed.values()])
                print(row.system, metric, len(values), "seeds:", *(f"{part:.3f}" for part in components(values)), flush=True)


def main(runs: int) -> None:
    print("| both rules for the interval | pieces | crossed t | squared limits | width |\n|--:|--:|--:|--:|--:|")
    for seeds in (2, 3, 5):
        for pieces in (5, 9, 50):
            found = [coverage(family, seeds, pieces, runs) for family in MEASURED]
            spans = [
                f"{min(shares):.3f} to {max(shares):.3f}" for shares in zip(*((c.crossed, c.squared) for c in found), strict=True)
            ]
            print(f"| {seeds} | {pieces} | {' | '.join(spans)} | {np.mean([c.wider for c in found]):.2f} |", flush=True)
    print("\n| 95 % interval | seeds | 5 pieces | 9 pieces | 50 pieces | heavy tails, 50 pieces | rerun | heavy tails |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for family in FAMILIES:
        for seeds in (2, 3, 5):
            few = [coverage(family, seeds, pieces, runs).shipped for pieces in (5, 9)]
            normal, heavy = (coverage(family, seeds, 50, runs, heavy=h) for h in (False, True))
            shown = " | ".join(f"{x:.3f}" for x in (*few, normal.shipped, heavy.shipped, normal.rerun, heavy.rerun))
            print(f"| {family.name} | {seeds} | {shown} |", flush=True)
    print("\n| false positives, family-wise | seeds | 9 pieces | 50 pieces | heavy tails, 50 pieces |\n|---|--:|--:|--:|--:|")
    for name, systems in TABLES.items():
        for seeds in (2, 3, 5):
            designs = ((9, False), (50, False), (50, True))
            rates = [false_positives(systems, seeds, pieces, runs, heavy=heavy) for pieces, heavy in designs]
            print(f"| {name} | {seeds} | {' | '.join(f'{r:.3f}' for r in rates)} |", flush=True)
    print("\n| false positives / level, 50 pieces | seeds | level | squared limits | crossed t | larger p | pieces alone |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one, other in ((GAN, REAL), (LSTM, GAN), (BITS[0], BITS[3]), (ALIKE, ALIKE)):
        for seeds in (3, 5):
            found_at = rules(one, other, seeds, 50, 5 * runs, [ALPHA, ALPHA / 66])
            for level, rates in found_at.items():
                shown = " | ".join(f"{rate:.2f}" for rate in rates)
                print(f"| {one.name} and {other.name} | {seeds} | 0.05 / {ALPHA / level:.0f} | {shown} |", flush=True)
    print("\n| detectable between | seeds | pieces | detectable | found |\n|---|--:|--:|--:|--:|")
    for name, systems in TABLES.items():
        for first, second in ((0, 1), (0, 3))[: len(systems) - 1]:
            for seeds in (3, 5, 10):
                size, found_in = power(systems, (first, second), seeds, 50, runs)
                pair = f"{systems[first].name} and {systems[second].name}, of {name}"
                print(f"| {pair} | {seeds} | 50 | {size:.2f} | {found_in:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].isdecimal():
        measure([Path(folder) for folder in sys.argv[1:]])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)
