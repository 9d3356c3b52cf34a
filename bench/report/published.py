"""Published tables that are shown beside the results, by the row's name or its model plug-in's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    scales : tuple of str, optional
        Of an anchor: the only scales of the spec whose numbers stand beside these, on the same dataset. Empty for a table that
        stands beside any.
    options : mapping, optional
        Of an anchor: the options of the dataset that select its music.
    same_pieces : bool, optional
        Whether it was measured on the pieces that ours is; if not, whether a further training of ours may give it says nothing.
    """

    short: str
    source: str
    dataset: str
    other_music: str
    caveat: str
    values: Mapping[str, Mapping[str, float]]
    scales: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    same_pieces: bool = True


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
        ),
        "bai2018": Published(
            short="Bai 2018",
            source="Bai, S., Kolter, J. Z., Koltun, V. An Empirical Evaluation of Generic Convolutional and Recurrent Networks "
            "for Sequence Modeling. 2018, arXiv 1803.01271, Table 1, JSB Chorales",
            dataset="jsb",
            other_music="It was measured on other music, the JSB Chorales.",
            caveat="It is one number each, of networks of about 300 000 parameters. Its authors searched the recurrent ones and "
            "hardly the TCN; we searched all.",
            values={
                "lstm": {"nats_per_frame": 8.45},
                "gru": {"nats_per_frame": 8.43},
                "rnn": {"nats_per_frame": 8.91},
                "tcn": {"nats_per_frame": 8.10},
                "tcn-published": {"nats_per_frame": 8.10},
            },
            scales=("cpu", "gpu"),
        ),
        "hawthorne2019": Published(
            short="Hawthorne 2019",
            source="Hawthorne, C. et al. Enabling Factorized Piano Music Modeling and Generation with the MAESTRO Dataset. ICLR "
            "2019, arXiv 1810.12247, Table 6",
            dataset="maestro",
            other_music="It was measured on other music, MAESTRO.",
            caveat="It is one training of the relative Transformer on MAESTRO v1, measured on the validation pieces, ours on the "
            "test pieces. The paper doesn't say how it divides them for the measure (the code that was released with it: in "
            "segments, the last shorter); it trains on random crops of 2048 events.",
            values={"event-transformer": {"nats_per_event": 1.84}},
            scales=("gpu",),
            options={"version": "1.0.0", "pedal": "extend"},
            same_pieces=False,
        ),
    }
)
