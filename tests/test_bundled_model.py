"""The model that is shipped: small, and recognisably right on speech."""

from pathlib import Path

import jiwer
import pytest
import tensorflow as tf

from predictor import Predictor, load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend, newest_version
from speech.alphabet import normalise
from speech.decoding.decoder import LANGUAGE_MODEL, DecodingOptions

ROOT = Path(__file__).parents[1]
MAX_MODEL_BYTES = 20_000_000
MAX_LANGUAGE_MODEL_BYTES = 10_000_000
MAX_WER_OF_GREEDYS = 0.7
MAX_VALIDATION_CER = 0.18


@pytest.fixture(scope="module")
def predictor(bundled: Path) -> Predictor:
    return Predictor(LocalBackend(bundled))


def samples() -> dict[str, str]:
    """Return the text of each sample clip by name."""
    lines = (ROOT / "Data/samples/metadata.csv").read_text(encoding="utf-8").splitlines()
    return {line.split("|")[0]: line.split("|")[2] for line in lines}


def test_the_sample_is_right_to_within_two_words(bundled: Path) -> None:
    predictor = load_predictor(ServerConfig(model=bundled, compile_clips=False))
    reference = normalise(samples()["sample"], predictor.pipeline.alphabet)
    text = predictor.transcribe((ROOT / "Data/samples/sample.wav").read_bytes()).text
    words = jiwer.process_words(reference, text)
    assert words.substitutions + words.deletions + words.insertions <= 2, text


def test_unseen_real_speech_is_recognisable(predictor: Predictor, ljspeech: Path) -> None:
    if not (ljspeech / "splits.csv").is_file():
        pytest.skip("needs the splits.csv that says what was not trained on")
    rows = (ljspeech / "splits.csv").read_text(encoding="utf-8").splitlines()
    held_out = {row.split(",")[0] for row in rows if row.endswith(",validation")}
    lines = (ljspeech / "metadata.csv").read_text(encoding="utf-8").splitlines()
    texts = {line.split("|")[0]: line.split("|")[2] for line in lines}
    references, hypotheses = [], []
    for name in sorted(held_out & texts.keys()):
        wav = (ljspeech / "wavs" / f"{name}.wav").read_bytes()
        hypotheses.append(predictor.transcribe(wav).text)
        references.append(normalise(texts[name], predictor.pipeline.alphabet))
    assert len(references) == 20
    assert jiwer.cer(references, hypotheses) < MAX_VALIDATION_CER


def test_the_graph_writes_the_same_text(predictor: Predictor, bundled: Path) -> None:
    wavs = [(ROOT / f"Data/samples/{name}.wav").read_bytes() for name in samples()]
    loaded = tf.saved_model.load(str(newest_version(bundled)))
    texts = loaded.signatures["transcribe"](wav_bytes=tf.constant(wavs))["text"].numpy()
    assert [text.decode() for text in texts] == [predictor.transcribe(wav).text for wav in wavs]


def test_it_is_small_and_complete(bundled: Path) -> None:
    for name in ("model.keras", "pipeline.json", "MODEL_CARD.md"):
        assert (bundled / name).is_file(), name
    local = (
        "checkpoint.npz",
        "samples.jsonl",
        "tensorboard",
        "mlflow",
        "wandb",
        "tracking.json",
        "language_model",
    )
    shipped = [path for path in bundled.rglob("*") if not set(path.parts) & set(local)]
    assert sum(path.stat().st_size for path in shipped if path.is_file()) < MAX_MODEL_BYTES


def test_the_language_model_is_small_and_lowers_the_error_rate(
    bundled: Path, ljspeech: Path
) -> None:
    """By a fifth at least, on clips and texts that neither network nor language model has seen."""
    assert (bundled / LANGUAGE_MODEL).stat().st_size < MAX_LANGUAGE_MODEL_BYTES
    if not (ljspeech / "splits.csv").is_file():
        pytest.skip("needs the splits.csv that says what was not trained on")
    predictor = load_predictor(ServerConfig(model=bundled, compile_clips=False))
    rows = (ljspeech / "splits.csv").read_text(encoding="utf-8").splitlines()
    held_out = sorted(row.split(",")[0] for row in rows if row.endswith(",validation"))
    lines = (ljspeech / "metadata.csv").read_text(encoding="utf-8").splitlines()
    texts = {line.split("|")[0]: line.split("|")[2] for line in lines}
    references = [normalise(texts[name], predictor.pipeline.alphabet) for name in held_out]
    wavs = [(ljspeech / "wavs" / f"{name}.wav").read_bytes() for name in held_out]
    greedy, beam = (
        jiwer.wer(references, [predictor.transcribe(wav, options).text for wav in wavs])
        for options in (DecodingOptions(decoder="greedy"), DecodingOptions())
    )
    assert beam < MAX_WER_OF_GREEDYS * greedy
