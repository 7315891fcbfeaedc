"""Frozen settings of a model, one dataclass a concern, and the errors that users may meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import Literal

ADDED = {"added": True}  # a setting that files of earlier models do not have

PROJECT_ROOT = Path(__file__).resolve().parent
BUNDLED_MODEL = PROJECT_ROOT / "Models" / "english-small"
LARGEST_BEAM_WIDTH = 1024


class SpeechToTextError(Exception):
    """Base of every error whose message is meant for the user."""


class AudioError(SpeechToTextError):
    """The audio is not what it must be; says what it is and what is needed."""


class UnsupportedAudioError(AudioError):
    """Content that is no audio, or audio of a kind that cannot be read here."""


class AudioTooLongError(AudioError):
    """More seconds of audio than are taken."""


class CorpusError(SpeechToTextError):
    """A corpus, a manifest or a text of one cannot be used."""


class DecodingError(SpeechToTextError):
    """Log-probabilities and the decoder's settings or alphabet do not fit."""


class ModelError(SpeechToTextError):
    """A model's files are missing, broken or of another kind."""


class ModelUnavailableError(ModelError):
    """No model answers at present; trying again later may help."""


class OverloadedError(ModelUnavailableError):
    """As many requests as may are there already; trying again soon may help."""


class GivenUpError(SpeechToTextError):
    """Whoever asked waits for the answer no longer, so it is not computed."""


def check(holds: bool, message: str) -> None:
    """Raise `ValueError` with `message` where a setting is not as it must be."""
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """The native form of audio: what the SavedModel and `/upload/` take.

    Only the rate and the longest duration can be chosen; samples are 16-bit PCM, mono.
    """

    sample_rate_hz: int = 22_050
    max_duration_s: float = 120.0

    def __post_init__(self) -> None:
        check(self.sample_rate_hz >= 1000, f"sample_rate_hz {self.sample_rate_hz} is under 1000")
        check(
            0 < self.max_duration_s < inf,
            f"max_duration_s {self.max_duration_s:g}; needed: seconds over 0, not endless",
        )


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How a waveform becomes features; lengths are in samples.

    `stft` gives `fft_length // 2 + 1` magnitudes to the power `magnitude_power`; `log_mel` gives
    the logarithm of `num_mel_bands` mel energies between `min_hz` and `max_hz`.

    With `normalisation` `clip` each bin gets mean 0 and deviation 1 over the clip. With `running`
    each frame is normalised by the frames up to itself, and by `prior_frames` more that are taken
    to have `prior_mean` and `prior_deviation`: no frame waits for a later one.
    """

    kind: Literal["stft", "log_mel"] = "stft"
    frame_length: int = 256
    frame_step: int = 160
    fft_length: int = 384
    magnitude_power: float = 0.5
    num_mel_bands: int = 80
    min_hz: float = 20.0
    max_hz: float = 8000.0
    log_floor: float = 1e-6
    normalisation: Literal["clip", "running"] = field(default="clip", metadata=ADDED)
    prior_mean: float = field(default=-5.0, metadata=ADDED)
    prior_deviation: float = field(default=4.0, metadata=ADDED)
    prior_frames: float = field(default=100.0, metadata=ADDED)

    def __post_init__(self) -> None:
        check(self.kind in ("stft", "log_mel"), f"kind {self.kind!r} is not stft or log_mel")
        check(self.frame_length >= 1, f"frame_length {self.frame_length} is under 1")
        check(self.frame_step >= 1, f"frame_step {self.frame_step} is under 1")
        check(
            self.fft_length >= self.frame_length,
            f"fft_length {self.fft_length} is under frame_length {self.frame_length}",
        )
        check(0 <= self.min_hz < self.max_hz, f"min_hz {self.min_hz} to max_hz {self.max_hz}")
        check(self.log_floor > 0, f"log_floor {self.log_floor} is not positive")
        check(
            self.normalisation in ("clip", "running"),
            f"normalisation {self.normalisation!r} is not clip or running",
        )
        check(-inf < self.prior_mean < inf, f"prior_mean {self.prior_mean} is not a number")
        for name in ("prior_deviation", "prior_frames"):
            value = getattr(self, name)
            check(0 < value < inf, f"{name} {value} is not a positive number")
        check(
            self.normalisation == "clip" or self.frame_step <= self.frame_length,
            f"frame_step {self.frame_step} is over frame_length {self.frame_length}",
        )

    @property
    def num_bins(self) -> int:
        """Features a frame."""
        return self.num_mel_bands if self.kind == "log_mel" else self.fft_length // 2 + 1


LOG_MEL = FeatureConfig(kind="log_mel", frame_length=551, frame_step=220, fft_length=1024)


@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig:
    """One convolution; `kernel` and `stride` are (time, frequency), kernels odd."""

    filters: int = 32
    kernel: tuple[int, int] = (11, 41)
    stride: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        check(self.filters >= 1, f"filters {self.filters} is under 1")
        for name in ("kernel", "stride"):
            sizes = getattr(self, name)
            is_pair = len(sizes) == 2 and all(type(size) is int and size >= 1 for size in sizes)
            check(is_pair, f"{name} {sizes} is not two whole numbers from 1")
        check(
            all(size % 2 == 1 for size in self.kernel),
            f"kernel {self.kernel}: sizes must be odd, so that padding is symmetric",
        )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Every size of a network; the defaults are DeepSpeech2 as published for LJSpeech.

    With `bidirectional` false the GRUs run forward only, and over the last one lies a row
    convolution of each frame and the `lookahead` frames after it: such a network can compute a
    clip while it is heard.
    """

    kind: Literal["deepspeech2"] = "deepspeech2"
    convolutions: tuple[ConvolutionConfig, ...] = (
        ConvolutionConfig(),
        ConvolutionConfig(kernel=(11, 21), stride=(1, 2)),
    )
    gru_layers: int = 5
    gru_units: int = 512
    normalise_gru_inputs: bool = False
    dense_units: int = 1024
    dropout: float = 0.5
    bidirectional: bool = field(default=True, metadata=ADDED)
    lookahead: int = field(default=0, metadata=ADDED)

    def __post_init__(self) -> None:
        check(self.kind == "deepspeech2", f"network kind {self.kind!r} is not deepspeech2")
        check(len(self.convolutions) >= 1, "no convolution: at least one is needed")
        check(self.gru_layers >= 1, f"gru_layers {self.gru_layers} is under 1")
        check(self.gru_units >= 1, f"gru_units {self.gru_units} is under 1")
        check(self.dense_units >= 0, f"dense_units {self.dense_units} is negative")
        check(0 <= self.dropout < 1, f"dropout {self.dropout} is not in [0, 1)")
        check(self.lookahead >= 0, f"lookahead {self.lookahead} is negative")
        check(
            not (self.bidirectional and self.lookahead),
            f"lookahead {self.lookahead}: a bidirectional network hears the whole clip",
        )
        if not self.bidirectional:
            for convolution in self.convolutions:
                check(
                    convolution.stride[0] <= convolution.kernel[0],
                    f"stride {convolution.stride} jumps over frames of kernel {convolution.kernel}",
                )

    @property
    def time_stride(self) -> int:
        """Frames of features for each frame of output."""
        return prod(convolution.stride[0] for convolution in self.convolutions)

    def num_output_frames(self, num_frames: int) -> int:
        """Return how many frames come out when `num_frames` features go in."""
        return -(-num_frames // self.time_stride)

    def num_frames_ahead(self) -> int:
        """Return how many frames of features after its own a frame of output waits for.

        Raises:
            ValueError: for the end of the clip.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional network waits for the end of the clip")
        ahead, stride = 0, 1
        for convolution in self.convolutions:
            ahead += stride * (convolution.kernel[0] // 2)
            stride *= convolution.stride[0]
        return ahead + stride * self.lookahead


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How log-probabilities become text.

    Args:
        decoder: `greedy`, the best path; or `beam`, the best text, with a language model if the
            model has one.
        beam_width: texts kept a frame.
        lm_weight: of the language model's log10 probability beside the network's in nats.
        word_score: added for each frame that is a space, in nats; over 0 gives more words.
        word_lm_weight: of the log10 probability by a language model of words, if there is one,
            which then chooses among the texts of the beam.
        unknown_word_score: added then for each word that it does not know, in nats.
        beam_threshold: texts that are so many nats behind the best one are dropped.
        max_symbols: the likeliest symbols of a frame that are tried.
        blank_share: of frames in a row whose blank is likelier than this, one is kept.
    """

    decoder: Literal["greedy", "beam"] = "beam"
    beam_width: int = 64
    lm_weight: float = 1.4
    word_score: float = 0.0
    word_lm_weight: float = 1.0
    unknown_word_score: float = -3.0
    beam_threshold: float = 6.0
    max_symbols: int = 5
    blank_share: float = 0.95

    def __post_init__(self) -> None:
        check(self.decoder in ("greedy", "beam"), f"decoder {self.decoder!r} is not greedy or beam")
        check(
            1 <= self.beam_width <= LARGEST_BEAM_WIDTH,
            f"beam_width {self.beam_width} is not in 1 to {LARGEST_BEAM_WIDTH}",
        )
        check(0 <= self.lm_weight < inf, f"lm_weight {self.lm_weight} is negative")
        check(-inf < self.word_score < inf, f"word_score {self.word_score} is not a number")
        check(0 <= self.word_lm_weight < inf, f"word_lm_weight {self.word_lm_weight} is negative")
        check(
            -inf < self.unknown_word_score < inf,
            f"unknown_word_score {self.unknown_word_score} is not a number",
        )
        check(
            0 < self.beam_threshold < inf, f"beam_threshold {self.beam_threshold} is not positive"
        )
        check(self.max_symbols >= 2, f"max_symbols {self.max_symbols} is under 2")
        check(0 < self.blank_share <= 1, f"blank_share {self.blank_share} is not in (0, 1]")
