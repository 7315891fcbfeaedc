"""The exported SavedModel: one function, however it is loaded and batched."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from config import AudioConfig, ModelError
from serving.local import LocalBackend
from speech.audio import decode_native, encode_native
from speech.decoding.greedy import greedy_confidence, greedy_decode
from speech.features import extract_features
from speech.pipeline import read_pipeline
from tests.models import LOG_MEL_FEATURES, TinyModel, make_model
from training.export import export, load_network

RATE_HZ = 22_050
NATIVE = AudioConfig()


def noise(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return noise whose loudness changes, so that frames differ."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    envelope = 0.3 * (1 + np.sin(2 * np.pi * rng.uniform(1, 4) * time_s))
    return (envelope * rng.uniform(-1, 1, len(time_s))).astype(np.float32)


def test_a_clip_alone_equals_the_clip_beside_a_long_one(tiny_model: TinyModel, rng) -> None:
    backend = LocalBackend(tiny_model.folder)
    short, long = noise(rng, 1.0), noise(rng, 12.0)
    alone = backend.log_probs([short])[0]
    together, _ = backend.log_probs([short, long])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(alone) > 0.1, "a constant output would pass any comparison"


@pytest.mark.parametrize("num_samples", [1, 2, 255, 551, 770, 771, 22_051])
def test_odd_lengths_do_not_depend_on_the_batch(tiny_model: TinyModel, rng, num_samples) -> None:
    backend = LocalBackend(tiny_model.folder)
    clip = noise(rng, 2.0)[:num_samples]
    alone = backend.log_probs([clip])[0]
    together = backend.log_probs([noise(rng, 1.7), clip, noise(rng, 3.3)])[1]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_graph_computes_what_the_network_was_trained_to(tiny_model: TinyModel, rng) -> None:
    waveform = noise(rng, 2.0)
    x, num_frames = extract_features(
        waveform[np.newaxis],
        np.array([len(waveform)]),
        tiny_model.pipeline.features,
        sample_rate_hz=RATE_HZ,
    )
    logits, _ = tiny_model.network([x, num_frames], training=False)
    expected = tf.nn.log_softmax(logits)[0].numpy()
    np.testing.assert_allclose(
        LocalBackend(tiny_model.folder).log_probs([waveform])[0], expected, atol=1e-4
    )


def test_samples_beyond_the_length_are_ignored(tiny_model: TinyModel, rng) -> None:
    signature = tf.saved_model.load(str(tiny_model.folder / "saved_model/1")).signatures[
        "serving_default"
    ]
    clip = noise(rng, 1.0)
    clean = np.pad(clip, (0, 5000))[np.newaxis]
    dirty = np.concatenate([clip, noise(rng, 1.0)[:5000]])[np.newaxis]
    count = tf.constant([len(clip)])
    expected = signature(waveform=tf.constant(clean), num_samples=count)["log_probs"]
    got = signature(waveform=tf.constant(dirty), num_samples=count)["log_probs"]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_transcribe_refuses_one_clip_without_the_others(tiny_model: TinyModel, rng) -> None:
    signature = tf.saved_model.load(str(tiny_model.folder / "saved_model/1")).signatures[
        "transcribe"
    ]
    good = [encode_native(noise(rng, seconds), NATIVE) for seconds in (1.0, 2.5)]
    slow = encode_native(noise(rng, 1.0), AudioConfig(sample_rate_hz=16_000))
    batch = [good[0], b"", slow, b"RIFF....WAVE", good[1]]
    outputs = signature(wav_bytes=tf.constant(batch))
    errors = [error.decode() for error in outputs["error"].numpy()]
    assert errors[0] == errors[4] == ""
    assert errors[1] == "got 0 bytes; needed: a WAV file"
    assert errors[2] == (
        "got 1 channel, 16-bit PCM, 16000 Hz; needed: 1 channel, 16-bit PCM, 22050 Hz WAV"
    )
    assert "no usable fmt chunk" in errors[3]
    for place, wav in ((0, good[0]), (4, good[1])):
        alone = signature(wav_bytes=tf.constant([wav]))
        assert outputs["text"].numpy()[place] == alone["text"].numpy()[0]
        np.testing.assert_allclose(outputs["confidence"][place], alone["confidence"][0], atol=1e-4)
    assert not any(outputs["text"].numpy()[1:4])


def test_transcribe_decodes_as_speech_decoding_does(tiny_model: TinyModel, rng) -> None:
    loaded = tf.saved_model.load(str(tiny_model.folder / "saved_model/1"))
    wavs = [encode_native(noise(rng, seconds), NATIVE) for seconds in (0.5, 1.9, 4.0)]
    outputs = loaded.signatures["transcribe"](wav_bytes=tf.constant(wavs))
    log_probs = LocalBackend(tiny_model.folder).log_probs([decode_native(w, NATIVE) for w in wavs])
    alphabet = tiny_model.pipeline.alphabet
    for text, confidence, clip in zip(
        outputs["text"].numpy(), outputs["confidence"].numpy(), log_probs, strict=True
    ):
        assert text.decode() == greedy_decode(clip, alphabet)
        np.testing.assert_allclose(confidence, greedy_confidence(clip, alphabet), atol=1e-4)


def test_the_spectrogram_signature_takes_features(tiny_model: TinyModel, rng) -> None:
    loaded = tf.saved_model.load(str(tiny_model.folder / "saved_model/1"))
    waveform = noise(rng, 1.5)
    x, num_frames = extract_features(
        waveform[np.newaxis],
        np.array([len(waveform)]),
        tiny_model.pipeline.features,
        sample_rate_hz=RATE_HZ,
    )
    outputs = loaded.signatures["spectrogram"](spectrogram=3.0 * x + 1.0, num_frames=num_frames)
    expected = LocalBackend(tiny_model.folder).log_probs([waveform])[0]
    np.testing.assert_allclose(outputs["log_probs"][0], expected, atol=1e-3)


def test_the_plain_session_loader_gives_the_same(tiny_model: TinyModel, rng) -> None:
    waveform = noise(rng, 1.0)
    expected = LocalBackend(tiny_model.folder).log_probs([waveform])[0]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = str(tiny_model.folder / "saved_model/1")
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        signature = meta.signature_def["serving_default"]
        fetched = session.run(
            signature.outputs["log_probs"].name,
            {
                signature.inputs["waveform"].name: waveform[np.newaxis],
                signature.inputs["num_samples"].name: [len(waveform)],
            },
        )
        operations = {node.op for node in tf.compat.v1.get_default_graph().as_graph_def().node}
    np.testing.assert_allclose(fetched[0], expected, atol=1e-4)
    assert not any("Cudnn" in operation or "PyFunc" in operation for operation in operations)


def test_warmup_requests_name_each_signature(tiny_model: TinyModel) -> None:
    path = tiny_model.folder / "saved_model/1/assets.extra/tf_serving_warmup_requests"
    loaded = tf.saved_model.load(str(tiny_model.folder / "saved_model/1"))
    seen = set()
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {key: tf.constant(tf.make_ndarray(v)) for key, v in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name](**inputs)
        seen.add(request.model_spec.signature_name)
    assert seen == {"serving_default", "transcribe", "spectrogram"}


def test_the_alphabet_is_an_asset(tiny_model: TinyModel) -> None:
    text = (tiny_model.folder / "saved_model/1/assets/alphabet.txt").read_text(encoding="utf-8")
    assert text == tiny_model.pipeline.alphabet.to_lines()


def test_a_second_export_is_the_next_version(tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny", LOG_MEL_FEATURES)
    assert export(model.folder).name == "2"
    assert sorted(path.name for path in (model.folder / "saved_model").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("precision", "largest", "tolerance"),
    [("float16", 0.6, 0.01), ("bfloat16", 0.6, 0.1), ("int8", 0.4, 0.2)],
)
def test_smaller_weights_make_a_smaller_file_and_change_little(
    tmp_path: Path, rng, precision: str, largest: float, tolerance: float
) -> None:
    whole = make_model(tmp_path / "whole", LOG_MEL_FEATURES)
    small = make_model(tmp_path / "small", LOG_MEL_FEATURES, precision=precision)
    waveform = noise(rng, 1.0)
    wanted = LocalBackend(whole.folder).log_probs([waveform])[0]
    backend = LocalBackend(small.folder, compile_clips=True)
    got = [backend.log_probs([waveform])[0]]
    assert backend.compiled
    backend.compiled.wait()
    got += [*backend.log_probs([waveform]), *backend.log_probs([waveform, waveform])]
    for log_probs in got:
        np.testing.assert_allclose(log_probs, wanted, atol=tolerance)
        assert log_probs.dtype == np.float32

    def size(folder: Path) -> int:
        return sum(p.stat().st_size for p in folder.glob("saved_model/1/variables/*data*"))

    assert size(small.folder) < largest * size(whole.folder)


def test_a_model_that_does_not_fit_its_pipeline_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny", LOG_MEL_FEATURES)
    other = make_model(tmp_path / "other", LOG_MEL_FEATURES)
    text = (other.folder / "pipeline.json").read_text(encoding="utf-8")
    (model.folder / "pipeline.json").write_text(text.replace('"z"', '"z", "ä"'), encoding="utf-8")
    with pytest.raises(ModelError, match=r"gives 29 symbols; its pipeline\.json says 80 and 30"):
        export(model.folder)
    with pytest.raises(ModelError, match="no usable model"):
        export(tmp_path / "nothing")


def test_a_wrong_length_is_cut_and_fails_no_other_clip(tiny_model: TinyModel, rng) -> None:
    loaded = tf.saved_model.load(str(tiny_model.folder / "saved_model/1"))
    clip = noise(rng, 1.0)
    batch = tf.constant(np.stack([clip, clip]))
    outputs = loaded.signatures["serving_default"](
        waveform=batch, num_samples=tf.constant([10**9, len(clip)])
    )
    np.testing.assert_allclose(outputs["log_probs"][0], outputs["log_probs"][1], atol=1e-5)
    negative = loaded.signatures["serving_default"](
        waveform=batch, num_samples=tf.constant([-5, len(clip)])
    )
    np.testing.assert_allclose(negative["log_probs"][1], outputs["log_probs"][1], atol=1e-4)
    x = tf.constant(rng.standard_normal((2, 40, tiny_model.pipeline.features.num_bins)), tf.float32)
    spectrogram = loaded.signatures["spectrogram"]
    outputs = spectrogram(spectrogram=x, num_frames=tf.constant([60, 0]))
    assert outputs["num_frames"].numpy().tolist() == [10, 1]
    assert np.isfinite(outputs["log_probs"].numpy()).all()
    assert np.isfinite(spectrogram(spectrogram=x[:, :0], num_frames=[0, 0])["log_probs"]).all()


def test_what_is_shipped_is_compact_and_the_same(tmp_path: Path, rng) -> None:
    """float16 weights: the network's file and the graph, which folds first, are both rounded."""
    model = make_model(tmp_path / "tiny", LOG_MEL_FEATURES)
    version = export(model.folder, precision="float16", to=tmp_path / "shipped")
    assert version == tmp_path / "shipped/saved_model/1"
    pipeline = read_pipeline(tmp_path / "shipped")
    assert pipeline.name == "shipped"
    network = load_network(tmp_path / "shipped/model.keras", pipeline)
    waveform = noise(rng, 1.0)
    x, num_frames = extract_features(
        waveform[np.newaxis],
        np.array([len(waveform)]),
        pipeline.features,
        sample_rate_hz=RATE_HZ,
    )
    logits, _ = network([x, num_frames], training=False)
    got = LocalBackend(tmp_path / "shipped").log_probs([waveform])[0]
    np.testing.assert_allclose(got, tf.nn.log_softmax(logits)[0].numpy(), atol=5e-3)
    assert sorted(path.name for path in (model.folder / "saved_model").iterdir()) == ["1"]


WITHOUT_KERAS = """
import sys
sys.modules["keras"] = None
from pathlib import Path
from predictor import Predictor
from serving.local import LocalBackend
print(repr(Predictor(LocalBackend(Path(sys.argv[1]))).transcribe(Path(sys.argv[2]).read_bytes()).text))
assert sys.modules["keras"] is None
"""


def test_it_is_used_where_keras_cannot_be_imported(
    tiny_model: TinyModel, rng, tmp_path: Path
) -> None:
    wav = tmp_path / "clip.wav"
    wav.write_bytes(encode_native(noise(rng, 1.5), NATIVE))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(tiny_model.folder), str(wav)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    log_probs = LocalBackend(tiny_model.folder).log_probs([decode_native(wav.read_bytes(), NATIVE)])
    expected = greedy_decode(log_probs[0], tiny_model.pipeline.alphabet)
    assert done.stdout.strip() == repr(expected)
