"""One model with one number of threads, in a process of its own; `benchmarks.inference` starts it.

Threads must be set before TensorFlow starts, so that every number of them is a process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.floor import Speed, count_work, floor_s, measure_speed
from benchmarks.ways import (
    KERAS,
    OURS,
    PLAIN,
    TimedBackend,
    largest_differences,
    make_ways,
    missing_packages,
    time_whole_way,
)
from config import AudioConfig
from predictor import Predictor
from speech.audio import Waveform, decode_native, encode_native
from speech.pipeline import read_pipeline
from training.export import load_network
from training.networks.weights import Weights, read_weights

SAMPLES = Path("Data/samples")
SETTLE_S = 0.02  # threads of the way before spin for a while
EQUALITY_S = ((0.01, 0.3, 2.0, 1.1), (1.7,))  # batches: beside a longer clip, and alone


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Args:
        clip_s: lengths of clips.
        batches: clips in a batch, all of one length.
        threads: numbers of threads.
        most_audio_s: batches of more audio are left out; one for each of `threads`.
        rounds: of a case at most, the first of which warms up,
        round_audio_s: and in all not more audio a way, but for one round.
        keras_audio_s: the same for the Keras model called directly, which takes tens of times as
            long, and only batches of one.
    """

    clip_s: tuple[int, ...] = (1, 5, 10, 20)
    batches: tuple[int, ...] = (1, 4, 16)
    threads: tuple[int, ...] = (1, 2)
    most_audio_s: tuple[float, ...] = (80.0, 320.0)
    rounds: int = 7
    round_audio_s: float = 60.0
    keras_audio_s: float = 10.0

    def rounds_of(self, way: str, clip_s: int, batch: int) -> int:
        """Return how often a way is measured in a case."""
        if way == KERAS and batch > 1:
            return 0
        audio_s = self.keras_audio_s if way == KERAS else self.round_audio_s
        return max(1, min(self.rounds, int(audio_s / (clip_s * batch))))


QUICK = Plan(clip_s=(1,), batches=(1, 2), threads=(1,), most_audio_s=(80.0,), rounds=1)


def sample_speech(audio: AudioConfig, seconds: float) -> Waveform:
    """Return the sample clips, repeated and cut to `seconds`."""
    clips = [decode_native(path.read_bytes(), audio) for path in sorted(SAMPLES.glob("*.wav"))]
    return np.resize(np.concatenate(clips), int(seconds * audio.sample_rate_hz))


def measure_case(
    predictors: dict[str, Predictor], clip_s: int, batch: int, plan: Plan
) -> dict[str, dict[str, float]]:
    """Return each way's stages in the round in which its whole way took least."""
    audio = predictors[OURS].audio
    wavs = [encode_native(sample_speech(audio, clip_s), audio)] * batch
    rounds = {name: plan.rounds_of(name, clip_s, batch) for name in predictors}
    best: dict[str, dict[str, float]] = {}
    for turn in range(max(rounds.values())):
        for name in (name for name in predictors if turn < rounds[name]):
            time.sleep(SETTLE_S)
            found = time_whole_way(predictors[name], wavs)
            if name not in best or found["whole_way_s"] < best[name]["whole_way_s"]:
                best[name] = found
    graph_s, features_s = best[OURS].pop("graph_s"), best[PLAIN]["features_s"]
    best[OURS] |= {"features_s": features_s, "network_s": max(0.0, graph_s - features_s)}
    return best


def measure_rows(
    ways: dict[str, TimedBackend], weights: Weights, speed: Speed, plan: Plan, threads: int
) -> list[dict[str, Any]]:
    """Return a row a case, with the floor, and our time over each other's."""
    predictors = {name: Predictor(backend) for name, backend in ways.items()}
    pipeline, rows = ways[OURS].pipeline, []
    limit_s = plan.most_audio_s[plan.threads.index(threads)]
    for batch in plan.batches:
        for clip_s in plan.clip_s:
            if batch * clip_s > limit_s:
                continue
            found = measure_case(predictors, clip_s, batch, plan)
            samples, features = clip_s * pipeline.audio.sample_rate_hz, pipeline.features
            num_frames = max(1, 1 + (samples - features.frame_length) // features.frame_step)
            work = count_work(weights, num_frames=num_frames, batch=batch)
            whole_s = {name: stages["whole_way_s"] for name, stages in found.items()}
            row = {
                "clip_s": clip_s,
                "batch": batch,
                "rounds": plan.rounds_of(OURS, clip_s, batch),
                "ways": found,
                "ours_over": {n: whole_s[OURS] / s for n, s in whole_s.items() if n != OURS},
                "work": asdict(work),
                "floor_s": floor_s(work, speed),
            }
            rows.append(row)
    return rows


def measure(folder: Path, plain: Path, plan: Plan, threads: int) -> dict[str, Any]:
    """Check that all ways are one function, then measure them.

    Returns:
        What `benchmarks.inference` writes of a model, and `missing`: packages not installed.

    Raises:
        SystemExit: a way gives other outputs than ours.
    """
    network = load_network(folder / "model.keras", read_pipeline(folder))
    ways, missing = make_ways(folder, plain, network, threads=threads)
    weights, audio = read_weights(network), ways[OURS].pipeline.audio
    batches = [[sample_speech(audio, s) for s in seconds] for seconds in EQUALITY_S]
    differences = largest_differences(ways, batches)
    speed = measure_speed(weights.recurrent[0].units)
    result: dict[str, Any] = {
        "model": ways[OURS].pipeline.name,
        "threads": threads,
        "largest_difference": differences,
        "speed": asdict(speed),
        "rows": measure_rows(ways, weights, speed, plan, threads),
    }
    missing += (not_there := missing_packages("pocketsphinx"))
    is_trained = bool(ways[OURS].pipeline.scores)
    if is_trained and not not_there:
        from benchmarks.peers_pocketsphinx import compare_sentences

        ours = Predictor(ways[OURS])
        result["sentences"] = compare_sentences(ours, folder, SAMPLES, min(3, plan.rounds))
    return {**result, "missing": missing}


def set_threads(threads: int) -> None:
    """Let TensorFlow, and where the system can the whole process, use so many processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def main(arguments: Sequence[str]) -> None:
    """Measure a model FOLDER and its PLAIN export by a PLAN with THREADS, into the file OUT."""
    folder, plain, plan, threads, out = arguments
    settings: dict[str, Any] = json.loads(plan)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    set_threads(int(threads))
    found = measure(Path(folder), Path(plain), Plan(**settings), int(threads))
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
