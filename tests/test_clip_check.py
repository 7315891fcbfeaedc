"""What is checked of a clip's audio is checked once: the journal, and going on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from config import PROJECT_ROOT, AudioConfig
from tests.clips import write_clip, write_ljspeech
from training.clip_check import map_ahead, safe_name
from training.corpus import PrepareConfig, prepare
from training.presets import PRESETS

SMALL = PRESETS["small"]
CONFIG = PrepareConfig(features=SMALL.features, network=SMALL.network, workers=2)


def test_safe_names_are_plain_short_and_different() -> None:
    names = ["a", "a.b-c_1", "a/b", "a_b", "a b", ".", "..", ".a", "", "é" * 300, "x" * 300]
    safe = [safe_name(name) for name in names]
    assert safe[:2] == names[:2]
    assert len(set(safe)) == len(names)
    assert all(s.isascii() and len(s) <= 100 and "/" not in s and s[0] != "." for s in safe)


def test_results_come_in_order_from_a_few_items_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for index in range(1000):
            taken.append(index)
            yield index

    results = map_ahead(lambda item: item * 2, items(), 2)
    assert next(results) == 0
    assert len(taken) < 20
    assert list(results) == list(range(2, 2000, 2))


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_clip_check import CONFIG
from training.corpus import prepare

def die(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

prepare([Path(sys.argv[1])], Path(sys.argv[2]), CONFIG, die)
"""


def test_after_a_kill_only_the_rest_is_done_and_the_result_is_the_same(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    texts = {f"{index}": f"text {word}" for index, word in enumerate("abcdefgh")}
    for name in texts:
        write_clip(corpus / f"{name}.flac", rate_hz=16_000)
    (corpus / "metadata.csv").write_text("".join(f"{n}|{t}\n" for n, t in texts.items()))
    arguments = [sys.executable, "-c", KILLED, str(corpus), str(tmp_path / "killed")]
    killed = subprocess.run(
        arguments, cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "manifest.jsonl").exists()

    seen: list[tuple[int, int]] = []
    prepare([corpus], tmp_path / "killed", CONFIG, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(3, 9)]
    prepare([corpus], tmp_path / "whole", CONFIG)
    contents = [(tmp_path / name / "manifest.jsonl").read_text() for name in ("killed", "whole")]
    assert contents[0] == contents[1]


def first_progress(corpus: Path, output: Path) -> tuple[int, int]:
    """Prepare `corpus` and return what was done before and in all."""
    seen: list[tuple[int, int]] = []
    prepare([corpus], output, CONFIG, lambda done, total: seen.append((done, total)))
    return seen[0]


def test_a_journal_torn_at_any_byte_loses_one_clip_and_is_mended(tmp_path: Path) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"a": "one", "b": "two", "c": "three"})
    output, journal = tmp_path / "out", tmp_path / "out" / "checked.jsonl"
    prepare([corpus], output, CONFIG)
    whole = journal.read_bytes()
    last_line = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last_line, len(whole)):
        journal.write_bytes(whole[:cut])
        complete = cut == len(whole) - 1
        assert first_progress(corpus, output) == (3 if complete else 2, 3)
        assert journal.read_bytes() == whole
    journal.write_bytes(whole[:last_line] + b"\0\xff\0\n" + whole[last_line:])
    assert first_progress(corpus, output) == (3, 3)


def test_what_has_changed_is_checked_anew(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    audio = write_clip(corpus / "a.flac")
    write_clip(corpus / "b.wav")
    (corpus / "metadata.csv").write_text("a|one\nb|two\n")
    output = tmp_path / "out"
    assert first_progress(corpus, output) == (0, 2)
    assert first_progress(corpus, output) == (2, 2)
    (output / "audio" / "c" / "a.wav").write_bytes(b"")
    assert first_progress(corpus, output) == (1, 2)
    status = audio.stat()
    os.utime(audio, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert first_progress(corpus, output) == (1, 2)
    other = replace(CONFIG, audio=AudioConfig(sample_rate_hz=16_000))
    (first, _) = prepare([corpus], output, other).utterances
    assert first.num_samples == 16_000


def test_a_changed_text_or_network_needs_no_audio_again_but_its_check(tmp_path: Path) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"a": "one", "b": "twenty characters it"})
    assert first_progress(corpus, tmp_path / "out") == (0, 2)
    (corpus / "metadata.csv").write_text("a|another\nb|twenty characters it\n")
    assert first_progress(corpus, tmp_path / "out") == (2, 2)
    coarse = replace(CONFIG, features=replace(SMALL.features, frame_step=551))
    prepared = prepare([corpus], tmp_path / "out", coarse)
    assert [u.text for u in prepared.utterances] == ["another"]
    assert [entry.id for entry in prepared.rejected] == ["c/b"]
