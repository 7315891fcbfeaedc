"""What a run writes for TensorBoard: scalars, transcripts, the clips' sound and features."""

import io
from pathlib import Path

import numpy as np
import soundfile
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from config import AudioConfig, FeatureConfig
from speech.audio import decode_native
from tests.models import LOG_MEL_FEATURES
from training.manifest import Split, Utterance
from training.reporting import RunLog
from training.validation import Validation


def test_tensorboard_has_scalars_texts_and_each_clip_once(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    shown = next(u for u in corpus if u.split is Split.validation)
    log = RunLog(tmp_path / "run", [shown], audio=AudioConfig(), features=LOG_MEL_FEATURES)
    for epoch in (1, 2):
        samples = [(shown.id, shown.text, f"heard {epoch}")]
        log.write_epoch(
            epoch, 2.5, 1e-3, Validation(wer=0.5, cer=0.25, samples=samples, warning="")
        )
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()

    def values(tag: str) -> list[tuple[int, np.ndarray]]:
        return [(e.step, tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]

    assert [(step, float(value)) for step, value in values("validation_wer")] == [
        (1, 0.5),
        (2, 0.5),
    ]
    texts = [value.item().decode() for _, value in values("samples")]
    assert ["heard 1" in texts[0], "heard 2" in texts[1]] == [True, True]
    ((step, sound),) = values(f"clips/{shown.id}")
    waveform, rate_hz = soundfile.read(io.BytesIO(sound[0, 0]), dtype="float32")
    assert (step, rate_hz) == (1, 22_050)
    native = decode_native(Path(shown.audio).read_bytes(), AudioConfig())
    np.testing.assert_allclose(waveform, native, atol=1 / 32_000)
    ((step, picture),) = values(f"features/{shown.id}")
    width, height, png, *_ = picture
    frames = 1 + (len(native) - LOG_MEL_FEATURES.frame_length) // LOG_MEL_FEATURES.frame_step
    assert (step, int(width), int(height)) == (1, frames, LOG_MEL_FEATURES.num_bins)
    pixels = tf.io.decode_png(png).numpy()
    assert pixels.std() > 10, "not one grey"


def test_an_epoch_done_again_takes_the_place_of_the_former(tmp_path: Path) -> None:
    """As after a kill between the log and the checkpoint; half a line goes too."""
    log = RunLog(tmp_path, [], audio=AudioConfig(), features=FeatureConfig())
    for epoch, wer in ((1, 0.9), (2, 0.8), (2, 0.7)):
        log.write_epoch(epoch, 1.0, 1e-3, Validation(wer=wer, cer=0.5, samples=[], warning=""))
    with (tmp_path / "log.csv").open("a", encoding="utf-8") as file:
        file.write("3")
    log.write_epoch(3, 1.0, 1e-3, Validation(wer=0.6, cer=0.5, samples=[], warning=""))
    rows = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].split(",")[0] == "epoch"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3"]
    assert [row.split(",")[3] for row in rows[1:]] == ["0.9", "0.7", "0.6"]
