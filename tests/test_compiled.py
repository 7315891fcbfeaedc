"""Clips alone through XLA equal the plain graph, and are compiled in the background."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.compiled import CompiledModel, preferred_lengths
from serving.local import LocalBackend
from tests.models import TinyModel
from tests.test_export import noise

RATE_HZ = 22_050


@pytest.fixture
def backend(tiny_model: TinyModel) -> Iterator[LocalBackend]:
    """Of a model that compiles."""
    made = LocalBackend(tiny_model.folder, compile_clips=True)
    yield made
    compiled_of(made).wait()


def compiled_of(backend: LocalBackend) -> CompiledModel:
    assert backend.compiled
    return backend.compiled


def test_lengths_grow_by_an_eighth_at_most_from_1_to_20_seconds() -> None:
    lengths = preferred_lengths(RATE_HZ)
    assert (lengths[0], lengths[-1]) == (RATE_HZ, 20 * RATE_HZ)
    growth = np.divide(lengths[1:], lengths[:-1])
    assert growth.min() > 1.1
    assert growth.max() < 1.125


@pytest.mark.parametrize("seconds", [0.01, 0.9, 2.03])
def test_a_compiled_clip_is_the_plain_one(
    backend: LocalBackend, tiny_model: TinyModel, rng, seconds: float
) -> None:
    clip = noise(rng, seconds)
    plain = LocalBackend(tiny_model.folder).log_probs([clip])[0]
    before = backend.log_probs([clip])[0]  # the plain graph, while the length is compiled
    np.testing.assert_allclose(before, plain, atol=1e-5)
    compiled_of(backend).wait()
    compiled = compiled_of(backend).log_probs(clip)
    assert compiled is not None
    assert compiled.shape == plain.shape
    np.testing.assert_allclose(compiled, plain, atol=1e-4)
    np.testing.assert_array_equal(backend.log_probs([clip])[0], compiled)


def test_clips_of_nearly_one_length_are_compiled_once(backend: LocalBackend, rng) -> None:
    lengths = preferred_lengths(RATE_HZ)
    place = bisect_left(lengths, 3 * RATE_HZ)
    longest, shortest = lengths[place], lengths[place - 1] + 1
    compiled = compiled_of(backend)
    clip = noise(rng, 5.0)
    assert compiled.log_probs(clip[:longest]) is None
    compiled.wait()
    assert compiled.log_probs(clip[:shortest]) is not None
    assert compiled.log_probs(clip[: longest + 1]) is None, "the next length"


def compilations(model: Path, dump: Path, rounds: list[list[int]]) -> list[int]:
    """Return how often XLA compiled something up to the end of each round, by its own account."""
    flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text"
    arguments = [str(model), str(dump), json.dumps(rounds)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiling_worker", *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        check=True,
    )
    counts: list[int] = json.loads(done.stdout)
    return counts


def test_xla_compiles_once_a_length_of_few_however_many_clips_there_are(
    model_folder: Path, tmp_path: Path
) -> None:
    lengths = preferred_lengths(RATE_HZ)
    of_one_length = range(lengths[0] + 1, lengths[1] + 1)
    rounds = [
        [lengths[1]],
        [*of_one_length[::199]],
        [*range(1, lengths[3] + 1, 499)],
        [lengths[-1] + 1, lengths[-1] + 1000],
    ]
    once, again, four_lengths, too_long = compilations(model_folder, tmp_path, rounds)
    assert once > 0
    assert again == once, f"of {len(rounds[1])} clips each had its own length"
    assert four_lengths == 4 * once, f"{len(rounds[2])} clips are rounded up to four lengths"
    assert too_long == four_lengths


def test_what_is_not_a_clip_alone_is_not_compiled(backend: LocalBackend, rng) -> None:
    clip = noise(rng, 21.0)
    assert compiled_of(backend).log_probs(clip) is None
    backend.log_probs([clip[:RATE_HZ], clip[:RATE_HZ]])
    compiled_of(backend).wait()
    assert compiled_of(backend).log_probs(clip[:RATE_HZ]) is None, "no batch asked for it"


def test_a_length_that_cannot_be_compiled_is_computed_plainly(
    backend: LocalBackend, rng, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise tf.errors.UnimplementedError(None, None, "no such operation")

    monkeypatch.setattr(backend.compiled, "_compute", fails)
    clip = noise(rng, 1.0)
    with caplog.at_level(logging.ERROR, logger="stt.predictor.compiled"):
        for _ in range(2):
            assert np.isfinite(backend.log_probs([clip])[0]).all()
            compiled_of(backend).wait()
    assert len(caplog.records) == 1, "tried once"


def test_a_compiled_length_that_fails_is_computed_plainly(
    backend: LocalBackend, rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noise(rng, 1.0)
    compiled_of(backend).compile(len(clip))
    wanted = backend.log_probs([clip])[0]

    def fails(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")

    monkeypatch.setattr(backend.compiled, "_compute", fails)
    np.testing.assert_allclose(backend.log_probs([clip])[0], wanted, atol=1e-4)


def test_closing_ends_after_the_length_in_work(
    backend: LocalBackend, rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a daemon thread asked, as that of the batches is."""
    compiled, clip = compiled_of(backend), noise(rng, 20.0)
    compute, started, goes_on = compiled._compute, threading.Event(), threading.Event()
    computed = []

    def waits(waveform: tf.Tensor, *others: tf.Tensor) -> dict[str, tf.Tensor]:
        started.set()
        assert goes_on.wait(60)
        computed.append(waveform.shape[1])
        outputs: dict[str, tf.Tensor] = compute(waveform, *others)
        return outputs

    monkeypatch.setattr(compiled, "_compute", waits)
    lengths = preferred_lengths(RATE_HZ)[:3]
    for length in lengths:
        asker = threading.Thread(target=compiled.log_probs, args=(clip[:length],), daemon=True)
        asker.start()
        asker.join()
    assert started.wait(60)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "compiler"]
    assert not thread.daemon, "the interpreter waits for it"
    closing = threading.Thread(target=backend.close)
    closing.start()
    goes_on.set()
    closing.join(60)
    thread.join(60)
    assert not thread.is_alive()
    assert computed == lengths[:1]


def test_a_model_of_an_earlier_export_is_not_compiled(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    """It has the signatures alone."""
    folder = tmp_path / "earlier"
    (folder / "saved_model").mkdir(parents=True)
    text = (tiny_model.folder / "pipeline.json").read_text(encoding="utf-8")
    (folder / "pipeline.json").write_text(text, encoding="utf-8")
    loaded = tf.saved_model.load(str(tiny_model.folder / "saved_model/1"))
    only = tf.Module()
    only.kept = loaded  # type: ignore[attr-defined]
    signatures = {"serving_default": loaded.signatures["serving_default"]}
    tf.saved_model.save(only, str(folder / "saved_model/1"), signatures=signatures)
    backend = LocalBackend(folder, compile_clips=True)
    assert backend.compiled is None
    clip = np.linspace(-0.5, 0.5, RATE_HZ, dtype=np.float32)
    wanted = LocalBackend(tiny_model.folder).log_probs([clip])[0]
    np.testing.assert_allclose(backend.log_probs([clip])[0], wanted, atol=1e-5)
