"""Sound and piano rolls of a run's samples.

:mod:`~bench.sound.synthesizer` finds the synthesizer, :mod:`~bench.sound.render` turns one MIDI file into MP3,
:mod:`~bench.sound.clips` keeps the clips in the run's folder, :mod:`~bench.report.listen` gives them to the report.

Rendering and reporting are apart. ``bench run`` renders after its last trial and ``bench listen`` on demand; a report only reads
what lies in the run's folder. So it is built in a moment, says the same on every machine, and does without the programs.
"""

from __future__ import annotations
