"""Predictor: batches change nothing, limits hold, the newest version is served."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import AudioError, ModelError
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend, newest_version
from speech.audio import decode_native, encode_native
from speech.batches import MAX_BATCH
from speech.decoding.decoder import DecodingOptions
from speech.decoding.hotwords import HotWord
from speech.pipeline import Pipeline, read_pipeline, write_pipeline
from tests.clips import babble
from transcription import transcribe_files


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder), max_duration_s=30.0)


def clips(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    return [babble(rng.uniform(0.4, 2.0), seed=i) for i in range(count)]


def test_many_clips_come_back_in_order_and_as_alone(predictor: Predictor, rng) -> None:
    waveforms = clips(rng, MAX_BATCH + 3)
    together = predictor.transcribe_waveforms(waveforms)
    assert len({transcript.text for transcript in together}) > 3
    for waveform, transcript in zip(waveforms, together, strict=True):
        alone = predictor.transcribe_waveforms([waveform])[0]
        assert transcript.text == alone.text
        assert transcript.confidence == pytest.approx(alone.confidence, abs=1e-3)
        assert transcript.duration_s == pytest.approx(len(waveform) / 22_050, abs=1e-3)


def test_no_clips_are_no_transcripts(predictor: Predictor) -> None:
    assert predictor.transcribe_waveforms([]) == []


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_what_is_no_waveform_is_the_callers_bug(predictor: Predictor, shape) -> None:
    with pytest.raises(ValueError, match="needed: "):
        predictor.transcribe_waveforms([np.zeros(shape, np.float32)])


def test_speech_in_which_no_letter_is_heard_is_an_empty_text(model_folder: Path) -> None:
    class Unsure(LocalBackend):
        """A network for which every frame is blank."""

        def log_probs(self, *given: Any) -> list[np.ndarray]:
            heard = [np.full_like(clip, -50.0) for clip in super().log_probs(*given)]
            for clip in heard:
                clip[:, self.pipeline.alphabet.blank_index] = 0.0
            return heard

    predictor = Predictor(Unsure(model_folder))
    heard = predictor.transcribe_waveforms([babble(1.0)], DecodingOptions(n_best=2))[0]
    assert (heard.text, heard.words) == ("", ())
    assert heard.confidence == pytest.approx(1.0)


def test_the_limit_is_the_models_own_or_another(predictor: Predictor, model_folder: Path) -> None:
    wav = encode_native(np.zeros(31 * 22_050, np.float32), predictor.audio)
    with pytest.raises(AudioError, match="at most 30 s"):
        predictor.transcribe(wav)
    own = read_pipeline(model_folder).audio.max_duration_s
    assert Predictor(predictor.backend).audio.max_duration_s == own
    assert Predictor(predictor.backend, max_duration_s=1e6).audio.max_duration_s == 1e6


def test_silence_and_steady_noise_are_no_words(bundled: Path, rng) -> None:
    predictor = Predictor(LocalBackend(bundled))
    noise = rng.normal(0, 0.05, 5 * 22_050).astype(np.float32)
    for waveform in (np.zeros(22_050, np.float32), noise, np.tile(noise, 6)):
        transcript = predictor.transcribe_waveforms([waveform])[0]
        assert (transcript.text, transcript.words) == ("", ())


def test_files_are_yielded_in_order_with_their_errors(
    predictor: Predictor, rng, tmp_path: Path
) -> None:
    sources: list[tuple[str, bytes | Path]] = []
    for i, waveform in enumerate(clips(rng, MAX_BATCH + 2)):
        sources.append((f"clip{i}", encode_native(waveform, predictor.audio)))
    sources.insert(1, ("bad", b"no audio"))
    sources.append(("missing", tmp_path / "missing.wav"))
    results = list(transcribe_files(predictor, sources))
    assert [name for name, _ in results] == [name for name, _ in sources]
    failed = [name for name, result in results if isinstance(result, AudioError)]
    assert failed == ["bad", "missing"]


def test_the_highest_version_is_served(tmp_path: Path) -> None:
    for name in ("1", "9", "10", "tmp", ".export-x"):
        (tmp_path / "saved_model" / name).mkdir(parents=True)
    assert newest_version(tmp_path).name == "10"
    with pytest.raises(ModelError, match="needed: what `stt export` writes"):
        newest_version(tmp_path / "nowhere")


def test_a_broken_saved_model_is_a_model_error(model_folder: Path, tmp_path: Path) -> None:
    write_pipeline(tmp_path, read_pipeline(model_folder))
    (tmp_path / "saved_model/1").mkdir(parents=True)
    with pytest.raises(ModelError, match="cannot load the SavedModel"):
        LocalBackend(tmp_path)
    (tmp_path / "saved_model/1/saved_model.pb").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot load the SavedModel"):
        LocalBackend(tmp_path)


@pytest.mark.parametrize("padding_s", [0.0, 0.1, 0.3])
def test_a_word_alone_is_heard(bundled: Path, padding_s: float) -> None:
    """Cut out of a sentence, with hardly any silence around it."""
    data = Path(__file__).parent / "data"
    known = json.loads((data / "timed_words.json").read_text(encoding="utf-8"))
    predictor = Predictor(LocalBackend(bundled))
    waveform = decode_native((data / "timed_words.wav").read_bytes(), predictor.audio)
    padding = np.zeros(int(padding_s * 22_050), np.float32)
    words = [
        np.concatenate([padding, waveform[int(a * 22_050) : int(b * 22_050)], padding])
        for a, b in zip(known["starts"], known["ends"], strict=True)
        if b - a > 0.2
    ]
    assert len(words) > 5
    texts = [transcript.text for transcript in predictor.transcribe_waveforms(words)]
    assert all(texts), texts


class Spelling:
    """A backend that hears one letter in each second of loud sound, at its true frame."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def log_probs(self, waveforms: list[np.ndarray], given_up=None) -> list[np.ndarray]:
        return [self._hear(waveform) for waveform in waveforms]

    def _hear(self, waveform: np.ndarray) -> np.ndarray:
        frame = round(self.pipeline.output_frame_s * 22_050)
        loud = np.abs(waveform[: len(waveform) // frame * frame]).reshape(-1, frame).max(axis=1)
        heard = np.full((len(loud), len(self.pipeline.alphabet)), -12.0, np.float32)
        begins = (loud > 0.15) & ~np.concatenate([[False], loud[:-1] > 0.15])
        heard[:, 0] = 0.0
        for place in np.flatnonzero(begins):
            # how loud a burst is tells which one it is
            letter = 3 + round(float(loud[place : place + 8].max() * 100)) % 26
            heard[place, [0, letter]] = -12.0, 0.0
            if place + 1 < len(heard):
                heard[place + 1, [0, 1]] = -12.0, 0.0
        return heard

    def check_ready(self) -> None: ...

    def close(self) -> None: ...


def test_nothing_is_lost_or_doubled_where_a_recording_is_cut(model_folder: Path) -> None:
    """Bursts of known loudness for two minutes: each is heard once, in order, at its time."""
    rate, parts, wanted, starts, length = 22_050, [], [], [], 0
    draw = np.random.default_rng(4)
    for i in range(150):
        peak = 0.30 + 0.01 * (i % 26)
        burst = peak * np.sign(np.sin(np.arange(int(0.3 * rate)) * 0.9))
        pause = np.zeros(int(draw.uniform(0.25, 0.8) * rate))
        starts.append(length / rate)
        wanted.append("abcdefghijklmnopqrstuvwxyz"[round(peak * 100) % 26])
        parts += [burst, pause]
        length += len(burst) + len(pause)
    predictor = Predictor(Spelling(read_pipeline(model_folder)), max_duration_s=1e4)
    waveform = np.concatenate(parts).astype(np.float32)
    transcript = predictor.transcribe_waveforms([waveform])[0]
    assert [word.text for word in transcript.words] == wanted
    errors = [abs(w.start_s - s) for w, s in zip(transcript.words, starts, strict=True)]
    assert max(errors) < 0.1


@pytest.fixture(scope="module")
def with_beam(bundled: Path) -> Predictor:
    return load_predictor(ServerConfig(model=bundled, compile_clips=False))


@pytest.fixture(scope="module")
def spoken(with_beam: Predictor) -> list[np.ndarray]:
    """Return the samples: sentences, of under 20 s each and over it in all."""
    folder = Path(__file__).parents[1] / "Data/samples"
    wavs = [path.read_bytes() for path in sorted(folder.glob("*.wav"))]
    return [decode_native(wav, with_beam.audio) for wav in wavs]


HOTWORDS = (HotWord(text="knew", weight=16.0), HotWord(text="harbour"))


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
@pytest.mark.parametrize("hotwords", [(), HOTWORDS], ids=["plain", "hot words"])
@pytest.mark.parametrize("kind", ["one piece", "pieces", "silence"])
def test_there_are_alternatives_whenever_more_than_one_text_was_asked_for(
    with_beam: Predictor, spoken: list[np.ndarray], decoder: str, hotwords: tuple, kind: str
) -> None:
    pause = np.zeros(22_050, np.float32)
    waveform = {
        "one piece": spoken[-1],
        "pieces": np.concatenate([part for clip in spoken for part in (clip, pause)]),
        "silence": np.tile(pause, 4),
    }[kind]
    options = DecodingOptions(decoder=decoder, n_best=6, hotwords=hotwords)
    transcript = with_beam.transcribe_waveforms([waveform], options)[0]
    texts = [alternative.text for alternative in transcript.alternatives]
    scores = [alternative.score for alternative in transcript.alternatives]
    assert texts[0] == transcript.text == " ".join(word.text for word in transcript.words)
    assert bool(transcript.text) == (kind != "silence")
    assert len(set(texts)) == len(texts) <= 6
    assert scores == sorted(scores, reverse=True)
    if decoder == "beam" and kind != "silence":
        assert len(texts) == 6
    one = DecodingOptions(decoder=decoder, hotwords=hotwords)
    assert with_beam.transcribe_waveforms([waveform], one)[0].alternatives == ()


def test_the_alternatives_of_pieces_are_the_best_of_the_whole(
    with_beam: Predictor, spoken: list[np.ndarray]
) -> None:
    options = DecodingOptions(n_best=5)
    whole = np.concatenate([part for clip in spoken for part in (clip, 0 * clip[:22_050])])
    pieces = [piece.samples for piece in with_beam._cut([whole])[1]]
    assert len(pieces) > 1
    parts = [t.alternatives for t in with_beam.transcribe_waveforms(pieces, options)]
    ways = [
        (" ".join(a.text for a in w), sum(a.score for a in w)) for w in itertools.product(*parts)
    ]
    wanted = sorted(ways, key=lambda way: -way[1])[:5]
    found = with_beam.transcribe_waveforms([whole], options)[0].alternatives
    assert [a.score for a in found] == pytest.approx([score for _, score in wanted], abs=1e-2)
    assert [a.text for a in found] == [text for text, _ in wanted]
