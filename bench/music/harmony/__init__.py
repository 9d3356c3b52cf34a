"""Algorithm 2 of Mon (2025): generation under a harmonic constraint.

A plan assigns a chord to each note. Each pitch's probability is multiplied by the weight of its pitch class (chord tones x3.0,
the key's other tones x1.5, all others x0.1), the products are normalised, then the model's temperature is applied and the pitch
drawn. The melody is split into sections, which are repeated and transposed (A+A+B+A), and chords are added under it.

==================  ===========================================================================================
:mod:`settings`     what a spec chooses: key, chords, weights and form
:mod:`theory`       keys and chords, by music21: the only module that imports it
:mod:`plan`         the chord under each note, and the weights of the pitches
:mod:`form`         sections
:mod:`accompaniment`  the chords as notes under a melody
==================  ===========================================================================================
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def source_digest() -> str:
    """Sha256 of the code that determines a constrained trial: this package, and the runner's application of a plan."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (*sorted(here.glob("*.py")), here.parents[1] / "runner" / "constrained.py"):
        content = path.read_bytes()
        digest.update(f"{path.name}\x1f{len(content)}\x1f".encode() + content)
    return digest.hexdigest()
