"""What the statistics promise, by simulation: coverage, false positives, power. ``docs/statistics.md`` has the tables.

``python -m tests.scoring.simulation`` prints them, 20 000 drawn runs a cell; a number after it is another count.

Variance components are those of the chorales' Table 2 (``tests/gate/spread.json``), with GANs as calm as that run's and as wild
as two machines showed. `bits` has pieces unlike each other and hardly any noise; each piece counts by its length, 30 to 300
notes. Seed effects of heavy tails are Student's with three degrees of freedom, scaled to the same variance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bench.scoring.crossed import Values, Variance, rerun_interval, variance_of_difference
from bench.scoring.stats import ALPHA, detectable, holm, p_values

Matrices = NDArray[np.float64]  # (runs, seeds, pieces)


@dataclass(frozen=True)
class Family:
    """Standard deviations of a metric of one kind of network: between trainings, between pieces, and what is left.

    `shared` is the part of the pieces' variance that all systems have: what is hard for one is hard for the other.
    """

    name: str
    seeds: float
    pieces: float
    rest: float
    shared: float = 0.5


BITS = Family("bits", 0.05, 2.6, 0.065, shared=0.98)
TRANSFORMER = Family("Transformer pitch", 0.06, 0.34, 0.73)
LSTM = Family("LSTM pitch", 0.155, 0.24, 0.84)
GAN = Family("GAN pitch", 0.4, 0.26, 0.73)
CALM_GAN = Family("calm GAN pitch", 0.2, 0.26, 0.73)
WIDE = Family("GAN, unlike pieces", 0.4, 2.0, 1.0)
REFERENCE = Family("reference", 0.0, 0.30, 0.53)
CONSTANT = Family("constant", 0.0, 0.44, 0.0)

FAMILIES = (BITS, TRANSFORMER, LSTM, CALM_GAN, GAN, WIDE, REFERENCE, CONSTANT)


def effects(rng: np.random.Generator, shape: tuple[int, ...], heavy: bool) -> NDArray[np.float64]:
    """Effects of trainings with variance 1."""
    return rng.standard_t(3, shape) / math.sqrt(3) if heavy else rng.normal(size=shape)


def draw(
    rng: np.random.Generator, family: Family, runs: int, seeds: int, pieces: NDArray[np.float64], *, heavy: bool = False
) -> Matrices:
    """Draw runs of a method whose true mean is 0. `pieces`, shape (runs, 1, pieces), is how hard each is for all systems."""
    count = pieces.shape[-1]
    own = rng.normal(size=(runs, 1, count))
    level = family.pieces * (math.sqrt(family.shared) * pieces + math.sqrt(1 - family.shared) * own)
    trained = family.seeds * effects(rng, (runs, seeds, 1), heavy)
    return level + trained + family.rest * rng.normal(size=(runs, seeds, count))


def values_of(matrix: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Values:
    by_seed = {seed: dict(enumerate(row.tolist())) for seed, row in enumerate(matrix)}
    return Values(by_seed, None if weights is None else dict(enumerate(weights.tolist())))


def coverage(family: Family, seeds: int, pieces: int, runs: int, *, heavy: bool = False, seed: int = 0) -> tuple[float, float]:
    """Share of intervals that contain the method's mean, and of rerun ranges that contain the mean of another run.

    With one seed the interval promises less: it holds for this training, on other pieces.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(runs, 1, pieces))
    held = again = 0
    trained = family.seeds * effects(rng, (runs, 2 * seeds, 1), heavy)
    still = Family(family.name, 0.0, family.pieces, family.rest, family.shared)
    both = draw(rng, still, runs, 2 * seeds, hard) + trained
    truth = trained[:, 0, 0] if seeds == 1 else np.zeros(runs)
    weights = rng.uniform(30, 300, pieces) if family is BITS else None
    for matrix, mean in zip(both, truth, strict=True):
        interval, _ = values_of(matrix[:seeds], weights).interval()
        held += interval is not None and not interval.excludes(mean)
        ours, others = (np.average(half, axis=1, weights=weights) for half in (matrix[:seeds], matrix[seeds:]))
        rerun = rerun_interval(ours.tolist())
        again += rerun is not None and not rerun.excludes(float(others.mean()))
    return held / runs, again / runs


def columns(
    systems: Sequence[Family], seeds: int, pieces: int, runs: int, *, heavy: bool, better: float, seed: int
) -> Iterator[list[tuple[float, Variance]]]:
    """Draw columns of a table: the difference and its variance for every pair. The first system is better by so much."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(runs, 1, pieces))
    drawn = [draw(rng, family, runs, seeds, hard, heavy=heavy) for family in systems]
    drawn[0] = drawn[0] - better
    pairs = list(combinations(range(len(systems)), 2))
    for run in range(runs):
        yield [
            (float(drawn[a][run].mean() - drawn[b][run].mean()), variance_of_difference(drawn[a][run], drawn[b][run]))
            for a, b in pairs
        ]


def false_positives(
    systems: Sequence[Family], seeds: int, pieces: int, runs: int, *, heavy: bool = False, seed: int = 0
) -> float:
    """Share of tables of equal methods in which any pair is called different: the family-wise error rate."""
    tables = list(columns(systems, seeds, pieces, runs, heavy=heavy, better=0.0, seed=seed))
    every = [pair for table in tables for pair in table]
    raw = np.array(p_values([d for d, _ in every], [v for _, v in every])).reshape(runs, -1)
    return float(np.mean([min(holm(row.tolist())) < ALPHA for row in raw]))


def expected(one: Family, other: Family, seeds: int, pieces: int) -> Variance:
    """What the parts of the variance of a difference are on average, which a run can only estimate."""
    of_seeds = [(f.seeds**2 + f.rest**2 / pieces) / seeds for f in (one, other)]
    rest = (one.rest**2 + other.rest**2) / seeds / pieces
    unshared = (math.sqrt(one.shared) * one.pieces - math.sqrt(other.shared) * other.pieces) ** 2
    unshared += (1 - one.shared) * one.pieces**2 + (1 - other.shared) * other.pieces**2
    df = sum(of_seeds) ** 2 / sum(part**2 / (seeds - 1) for part in of_seeds)
    return Variance(sum(of_seeds), df, unshared / pieces + rest, pieces - 1, rest, 2 * (seeds - 1) * (pieces - 1))


def power(systems: Sequence[Family], seeds: int, pieces: int, runs: int, *, seed: int = 0) -> tuple[float, float]:
    """Detectable difference of the first two of `systems`, at Holm's first step, and how often it is found there."""
    level = ALPHA / math.comb(len(systems), 2)
    size = detectable(expected(*systems[:2], seeds, pieces), level)
    found = [table[0] for table in columns(systems[:2], seeds, pieces, runs, heavy=False, better=size, seed=seed)]
    return size, float(np.mean(np.array(p_values([d for d, _ in found], [v for _, v in found])) <= level))


def rules(one: Family, other: Family, seeds: int, pieces: int, runs: int, level: float, *, seed: int = 0) -> dict[str, float]:
    """False positives of one pair of equal methods at `level`, as a multiple of it, by this rule and by others in its place."""
    pairs = [t[0] for t in columns((one, other), seeds, pieces, runs, heavy=False, better=0.0, seed=seed)]
    size = np.abs([d for d, _ in pairs])
    total, df, over_pieces, over_seeds, welch = np.array(
        [(v.total, v.df, v.pieces, v.seeds, v.seeds_df) for _, v in pairs], np.float64
    ).T

    def t_test(variance: NDArray[np.float64], df: ArrayLike) -> NDArray[np.float64]:
        p: NDArray[np.float64] = 2 * special.stdtr(df, -size / np.sqrt(variance))
        return p

    on_pieces = t_test(over_pieces, pieces - 1)
    found = {
        "squared limits": np.array(p_values([d for d, _ in pairs], [v for _, v in pairs])),
        "crossed t": t_test(total, df),
        "larger p of pieces and Welch": np.maximum(on_pieces, t_test(over_seeds, welch)),
        "pieces alone": on_pieces,
    }
    return {name: float((p <= level).mean() / level) for name, p in found.items()}


#: A column of the report: four networks and eight references, 66 pairs.
COLUMN = (LSTM, TRANSFORMER, GAN, TRANSFORMER, *(REFERENCE,) * 7, CONSTANT)
#: Networks alone, all with training variance of their own.
NETWORKS = (LSTM, TRANSFORMER, CALM_GAN, GAN)
#: Bits: no references but deterministic ones.
BITS_COLUMN = (BITS, BITS, Family("steady bits", 0.011, 2.8, 0.076, 0.98), Family("counted bits", 0.0, 4.6, 0.0, 0.98))

TABLES = {"networks": NETWORKS, "column of 12 rows": COLUMN, "bits": BITS_COLUMN, "GAN and reference": (GAN, REFERENCE)}


def main(runs: int) -> None:
    print("| 95 % interval / rerun range | seeds | pieces | normal | heavy tails |\n|---|--:|--:|--:|--:|")
    for family in FAMILIES:
        for seeds in (1, 3, 5):
            for pieces in (10, 50):
                normal, heavy = (coverage(family, seeds, pieces, runs, heavy=h) for h in (False, True))
                shown = [f"{i:.3f} / {r:.3f}" if seeds > 1 else f"{i:.3f}" for i, r in (normal, heavy)]
                print(f"| {family.name} | {seeds} | {pieces} | {' | '.join(shown)} |", flush=True)
    print("\n| false positives, family-wise | seeds | pieces | normal | heavy tails |\n|---|--:|--:|--:|--:|")
    for name, systems in TABLES.items():
        for seeds in (3, 5):
            for pieces in (10, 50):
                rates = [false_positives(systems, seeds, pieces, runs // 4, heavy=h) for h in (False, True)]
                print(f"| {name} | {seeds} | {pieces} | {' | '.join(f'{r:.3f}' for r in rates)} |", flush=True)
    print("\n| false positives / level, 50 pieces | seeds | level | squared limits | crossed t | larger p | pieces alone |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one, other in ((GAN, REFERENCE), (LSTM, GAN), (BITS, BITS)):
        for seeds in (3, 5):
            for tests in (1, 66):
                rates = rules(one, other, seeds, 50, runs, ALPHA / tests)
                shown = " | ".join(f"{rate:.2f}" for rate in rates.values())
                print(f"| {one.name} and {other.name} | {seeds} | 0.05 / {tests} | {shown} |", flush=True)
    print("\n| first two of | seeds | pieces | detectable | found |\n|---|--:|--:|--:|--:|")
    for name, systems in TABLES.items():
        for seeds in (3, 5, 10):
            size, found = power(systems, seeds, 50, runs // 4)
            print(f"| {name} | {seeds} | 50 | {size:.2f} | {found:.2f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
