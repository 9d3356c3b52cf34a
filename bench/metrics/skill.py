"""Skill: how much of a constant's distance a system saves, the skill score of forecasting with the median row as reference.

1 is the real notes, 0 no better than one note repeated, below 0 worse. Derived from the mean distances of two rows, so it is
computed from the scored table, not from notes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics.metric import Metric

#: Least weight of a piece, in the unit of the distance: one that a constant hits exactly has no skill, and its distance counts.
LEAST = 1e-9

SOURCE = "skill score, Murphy 1988; reference: this suite's row median"

#: The distance that each skill is of.
OF = {"pitch_skill": "pitch_distance", "velocity_skill": "velocity_distance"}

METRICS = tuple(
    Metric(
        name,
        f"{distance.split('_')[0].capitalize()} skill",
        "",
        "higher",
        f"1 - {distance.replace('_', ' ')} / that of the median row: 1 is the real notes, 0 no better than one note repeated, "
        "below 0 worse.",
        SOURCE,
        group="spread",
        floor=0.02,
        version=2,
    )
    for name, distance in OF.items()
)


def by_piece(distance: Mapping[int, float], median: Mapping[int, float]) -> tuple[dict[int, float], dict[int, float]]:
    """Skill on each piece, and the weights with which their mean is the skill of the mean distances.

    Parameters
    ----------
    distance, median : mapping of int to float
        Distance of the system and of the median row, by piece.

    Returns
    -------
    skill, weights : dict of int to float
        Those of a piece that a constant hits are no figures to look at: they make the mean right. None if it hits all.

    Examples
    --------
    >>> by_piece({0: 5.0, 1: 3.0}, median={0: 10.0, 1: 2.0})
    ({0: 0.5, 1: -0.5}, {0: 10.0, 1: 2.0})
    """
    weights = {piece: max(median[piece], LEAST) for piece in sorted(distance.keys() & median.keys())}
    if not any(median[piece] > 0 for piece in weights):
        return {}, {}
    return {piece: (median[piece] - distance[piece]) / weight for piece, weight in weights.items()}, weights
