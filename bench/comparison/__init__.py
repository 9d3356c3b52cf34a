"""Two runs or more side by side: what differs between them, and each value of each row, paired over the same pieces.

- :mod:`runs`: what is read of each run.
- :mod:`differences`: what differs in specs, versions, plug-ins, music and machines; :mod:`rows`: which rows both have.
- :mod:`obstacles`: why a value can't be compared; :mod:`changes`: those that can, tested as the gate tests them.
- :mod:`grids` and :mod:`words`: tables and sentences; :mod:`formats`: these as text, Markdown, a page and JSON.

The first run is what the others are compared with. Nothing is judged: :mod:`bench.gate` says whether a change is too large.
"""
