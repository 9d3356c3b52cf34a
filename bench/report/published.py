"""Published tables that are shown beside the results, by the row's name or its model plug-in's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """A published table.

    Parameters
    ----------
    short : str
        Column heading.
    source : str
        Full reference.
    dataset : str
        The dataset plug-in that holds the music it was measured on.
    other_music, caveat : str
        Why its numbers are not directly comparable with ours: on any other dataset, and always.
    values : mapping of str to mapping of str to float
        By model, then by metric.
    """

    short: str
    source: str
    dataset: str
    other_music: str
    caveat: str
    values: Mapping[str, Mapping[str, float]]


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "mon2025": Published(
            short="Mon 2025",
            source="Mon, Y.-J. LSTM-Based Music Generation Technologies. Computers 2025, 14(6), 229, Table 2, "
            "doi 10.3390/computers14060229",
            dataset="mon2025",
            other_music="It was measured on other music, the author's own ten files.",
            caveat="The paper reports neither seeds nor length nor how notes are aligned: its numbers show the order of "
            "magnitude, and a difference from them proves nothing.",
            values={
                "lstm-paper": {"pitch_distance": 15.92, "velocity_distance": 44.71},
                "lstm": {"pitch_distance": 15.92, "velocity_distance": 44.71},
                "transformer": {"pitch_distance": 16.80, "velocity_distance": 41.08},
                "gan": {"pitch_distance": 16.81, "velocity_distance": 42.21},
            },
        )
    }
)
