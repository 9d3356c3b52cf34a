"""The gate: whether anything in a run is worse than in an earlier one, its baseline.

- :mod:`bench.metrics.thresholds`: how much worse a metric may get; from the spec, else the metric's own tolerance.
- :mod:`baseline`: what is kept of a run.
- :mod:`files`: the file that holds it, written and read with care.
- :mod:`terms`: whether two runs can be compared at all.
- :mod:`chance`: how likely a change is by chance alone.
- :mod:`away`: how far a value is from where it should be.
- :mod:`pairs`: both runs' values, side by side.
- :mod:`verdicts`: the judgement.
- :mod:`words`, :mod:`junit`: how it is said.
"""
