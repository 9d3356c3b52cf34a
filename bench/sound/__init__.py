"""Sound of a run's samples.

:mod:`~bench.sound.synthesizer` turns notes into samples, :mod:`~bench.sound.render` writes parts of a piece as MP3,
:mod:`~bench.sound.clips` keeps the clips in the run's folder.

Rendering and reporting are separate: ``bench run`` renders after its last trial and ``bench listen`` on demand, while a report
only reads what is in the run's folder. So it is built in a moment, and is the same on every machine.
"""

from __future__ import annotations
