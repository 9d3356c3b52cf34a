"""The gate: whether anything in a run is worse than in an earlier one, its baseline.

- :mod:`bench.metrics.thresholds`: how much worse a metric may get; from the spec, else the metric's own tolerance.
- :mod:`baseline`: what is kept of a run.
- :mod:`baseline_file`: the file that holds it, with a checksum.
- :mod:`compare`: whether two runs can be compared, and both runs' values side by side.
- :mod:`significance`: how likely a change is by chance alone; :mod:`noise`: what other rows tell of the noise of one.
- :mod:`verdicts`: the judgement.
- :mod:`text`, :mod:`junit`: its text for people and for CI services.
"""
