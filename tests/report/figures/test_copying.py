"""Bar charts of copying."""

from __future__ import annotations

from typing import Any

from bench.report.figures import copying

from ..stored_run import Stored, built, moved


def test_copying_is_drawn_beside_what_real_music_shares(stored: Stored) -> None:
    part = {"longest_training_run": [20, 20], "longest_prompt_run": [None, None], "known_patterns": [None, None]}
    real = {**part, "longest_training_run": [5, 7]}
    stored.add("lstm", 0, moved(1), originality={"samples": part, "targets": real})
    (found,) = copying.gallery(built(stored.close())).drawings
    assert found.label == "Bar chart. Longest copied run: lstm 20.0. Real continuations: 6.0."


def test_real_music_of_the_training_set_is_no_bar_beside_what_was_copied(stored: Stored) -> None:
    def copies(run: int, prompt: int | None) -> dict[str, Any]:
        part = {"longest_training_run": [run, run], "longest_prompt_run": [prompt, prompt], "known_patterns": [None, None]}
        return {"samples": part, "targets": {**part, "longest_training_run": [5, 7]}}

    stored.add("lstm", 0, moved(1), originality=copies(20, 2))
    stored.add("gan", 0, moved(1), originality=copies(10, None))
    stored.add("real", 0, moved(2), originality=copies(300, 3))
    training, prompt = copying.gallery(built(stored.close())).drawings
    assert "real 300" not in training.label
    assert "real 3.0" in prompt.label
    assert prompt.caption.endswith(" No value: gan.")
