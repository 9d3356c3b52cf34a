"""A small spec with overrides for one scale."""

import textwrap

from bench.specs.load import load_spec

LITTLE = """\
title: Little
dataset: {name: chorales, options: {limit: 9}}
protocol: {prompt: 4, notes: 8}
seeds: [0, 7]
budget: {epochs: 5, patience: 2, timeout: 60}
models:
  lstm: {params: {units: 8}}
  wide: {plugin: lstm, params: {units: 16}, budget: {epochs: 2, patience: null}}
references: [median, untrained, markov]
scales:
  gpu:
    dataset: {options: {limit: 99}}
    budget: {epochs: 50}
    models:
      lstm: {params: {layers: 3}}
"""


def load(folder, text=LITTLE, name="little.yaml", *, scale=None, **changes):
    (folder / name).write_text(textwrap.dedent(text))
    return load_spec(folder / name, scale=scale, **changes)
