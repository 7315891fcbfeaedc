"""Frozen settings, one dataclass a concern, and the errors that users may meet."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf, prod
from pathlib import Path
from typing import Any, Literal, TypeVar

from service_config import AccessConfig, LimitsConfig, LogConfig

T = TypeVar("T")

_ADDED = {"added": True}  # a setting that files of earlier models do not have

PROJECT_ROOT = Path(__file__).resolve().parent


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


def _check(holds: bool, message: str) -> None:
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
        _check(self.sample_rate_hz >= 1000, f"sample_rate_hz {self.sample_rate_hz} is under 1000")
        _check(self.max_duration_s > 0, f"max_duration_s {self.max_duration_s} is not positive")


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
    normalisation: Literal["clip", "running"] = field(default="clip", metadata=_ADDED)
    prior_mean: float = field(default=-5.0, metadata=_ADDED)
    prior_deviation: float = field(default=4.0, metadata=_ADDED)
    prior_frames: float = field(default=100.0, metadata=_ADDED)

    def __post_init__(self) -> None:
        _check(self.kind in ("stft", "log_mel"), f"kind {self.kind!r} is not stft or log_mel")
        _check(self.frame_length >= 1, f"frame_length {self.frame_length} is under 1")
        _check(self.frame_step >= 1, f"frame_step {self.frame_step} is under 1")
        _check(
            self.fft_length >= self.frame_length,
            f"fft_length {self.fft_length} is under frame_length {self.frame_length}",
        )
        _check(0 <= self.min_hz < self.max_hz, f"min_hz {self.min_hz} to max_hz {self.max_hz}")
        _check(self.log_floor > 0, f"log_floor {self.log_floor} is not positive")
        _check(
            self.normalisation in ("clip", "running"),
            f"normalisation {self.normalisation!r} is not clip or running",
        )
        _check(-inf < self.prior_mean < inf, f"prior_mean {self.prior_mean} is not a number")
        for name in ("prior_deviation", "prior_frames"):
            value = getattr(self, name)
            _check(0 < value < inf, f"{name} {value} is not a positive number")
        _check(
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
        _check(self.filters >= 1, f"filters {self.filters} is under 1")
        for name in ("kernel", "stride"):
            sizes = getattr(self, name)
            is_pair = len(sizes) == 2 and all(type(size) is int and size >= 1 for size in sizes)
            _check(is_pair, f"{name} {sizes} is not two whole numbers from 1")
        _check(
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
    bidirectional: bool = field(default=True, metadata=_ADDED)
    lookahead: int = field(default=0, metadata=_ADDED)

    def __post_init__(self) -> None:
        _check(self.kind == "deepspeech2", f"network kind {self.kind!r} is not deepspeech2")
        _check(len(self.convolutions) >= 1, "no convolution: at least one is needed")
        _check(self.gru_layers >= 1, f"gru_layers {self.gru_layers} is under 1")
        _check(self.gru_units >= 1, f"gru_units {self.gru_units} is under 1")
        _check(self.dense_units >= 0, f"dense_units {self.dense_units} is negative")
        _check(0 <= self.dropout < 1, f"dropout {self.dropout} is not in [0, 1)")
        _check(self.lookahead >= 0, f"lookahead {self.lookahead} is negative")
        _check(
            not (self.bidirectional and self.lookahead),
            f"lookahead {self.lookahead}: a bidirectional network hears the whole clip",
        )
        if not self.bidirectional:
            for convolution in self.convolutions:
                _check(
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
class TrainingConfig:
    """One training run.

    The rate of learning rises over `warmup_share` of all steps to `learning_rate` and falls as a
    cosine to `final_learning_rate`. A batch holds at most `batch_seconds` with its padding.

    Args:
        repeat: corpora whose clips occur several times an epoch.
        init_from: folder of the model whose weights the run starts with; random ones if None.
        average_decay: over 0, the weights that are validated and kept are a running mean, of which
            this share stays at each step (Polyak and Juditsky 1992).
        patience: stop after so many epochs without a better validation; 0 never stops.
        sort_first_epoch: shortest clips first in the first epoch (Amodei et al. 2016, section 3.3).
        accumulate: batches whose gradients are averaged before a step is taken.
        precision: of activations; `bfloat16` and `float16` are Keras' mixed policies, in which
            weights and the loss stay float32.
        jit_compile: compile the step with XLA.
        strategy: `none` trains on one device, `mirrored` on all of this host, `multi-worker` on
            those of all hosts that `TF_CONFIG` names; a batch each.
    """

    epochs: int = 50
    batch_seconds: float = 160.0
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_share: float = 0.05
    weight_decay: float = 1e-4
    gradient_clip_norm: float = 5.0
    max_clip_s: float = 25.0
    seed: int = 0
    checkpoint_minutes: float = 10.0
    sample_transcripts: int = 4
    repeat: tuple[tuple[str, int], ...] = ()
    init_from: str | None = None
    average_decay: float = 0.0
    patience: int = 0
    sort_first_epoch: bool = False
    accumulate: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    jit_compile: bool = False
    strategy: Literal["none", "mirrored", "multi-worker"] = "none"

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"epochs {self.epochs} is under 1")
        for name in ("batch_seconds", "learning_rate", "gradient_clip_norm", "checkpoint_minutes"):
            value = getattr(self, name)
            _check(0 < value < inf, f"{name} {value} is not a positive number")
        _check(0 <= self.weight_decay < inf, f"weight_decay {self.weight_decay} is negative")
        _check(
            0 <= self.final_learning_rate <= self.learning_rate,
            f"final_learning_rate {self.final_learning_rate} is not in 0 to learning_rate",
        )
        _check(all(count >= 1 for _, count in self.repeat), f"repeat {self.repeat}: under once")
        _check(0 <= self.warmup_share < 1, f"warmup_share {self.warmup_share} is not in [0, 1)")
        _check(self.max_clip_s > 0, f"max_clip_s {self.max_clip_s} is not positive")
        _check(0 <= self.average_decay < 1, f"average_decay {self.average_decay} is not in [0, 1)")
        _check(self.patience >= 0, f"patience {self.patience} is negative")
        _check(self.accumulate >= 1, f"accumulate {self.accumulate} is under 1")
        _check(
            self.precision in ("float32", "bfloat16", "float16"),
            f"precision {self.precision!r} is not float32, bfloat16 or float16",
        )
        _check(
            self.strategy in ("none", "mirrored", "multi-worker"),
            f"strategy {self.strategy!r} is not none, mirrored or multi-worker",
        )
        _check(
            self.strategy == "none" or not self.jit_compile,
            f"strategy {self.strategy} does not work with jit_compile",
        )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Features and network that belong together."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_SMALL_CONVOLUTIONS = (
    ConvolutionConfig(filters=16, kernel=(11, 9), stride=(2, 2)),
    ConvolutionConfig(filters=32, kernel=(7, 5), stride=(2, 2)),
)

PRESETS = {
    "deepspeech2": Preset(training=TrainingConfig(learning_rate=3e-4)),
    "small": Preset(
        features=LOG_MEL,
        network=NetworkConfig(
            convolutions=_SMALL_CONVOLUTIONS,
            gru_layers=3,
            gru_units=256,
            normalise_gru_inputs=True,
            dense_units=0,
            dropout=0.1,
        ),
        training=TrainingConfig(epochs=9, learning_rate=1.5e-3),
    ),
    # 440 forward units have as many weights as 256 in both directions.
    "deepspeech2-streaming": Preset(
        features=replace(LOG_MEL, normalisation="running"),
        network=NetworkConfig(
            convolutions=_SMALL_CONVOLUTIONS,
            gru_layers=3,
            gru_units=440,
            normalise_gru_inputs=True,
            dense_units=0,
            dropout=0.1,
            bidirectional=False,
            lookahead=8,
        ),
        training=TrainingConfig(epochs=9, learning_rate=1.5e-3),
    ),
}


def _is_address(address: str) -> bool:
    """Whether it is `host:port`, or names one of gRPC's own resolvers."""
    if re.match(r"(dns|unix|unix-abstract|ipv4|ipv6|xds):", address):
        return True
    plain = re.fullmatch(r"(\[[^\]\s]+\]|[^:/\s]+):(\d{1,5})", address)
    return plain is not None and 1 <= int(plain[2]) <= 65_535


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
    beam_width: int = 32
    lm_weight: float = 1.4
    word_score: float = 0.0
    word_lm_weight: float = 1.0
    unknown_word_score: float = -3.0
    beam_threshold: float = 8.0
    max_symbols: int = 5
    blank_share: float = 0.95

    def __post_init__(self) -> None:
        _check(
            self.decoder in ("greedy", "beam"), f"decoder {self.decoder!r} is not greedy or beam"
        )
        _check(1 <= self.beam_width <= 1024, f"beam_width {self.beam_width} is not in 1 to 1024")
        _check(0 <= self.lm_weight < inf, f"lm_weight {self.lm_weight} is negative")
        _check(-inf < self.word_score < inf, f"word_score {self.word_score} is not a number")
        _check(0 <= self.word_lm_weight < inf, f"word_lm_weight {self.word_lm_weight} is negative")
        _check(
            -inf < self.unknown_word_score < inf,
            f"unknown_word_score {self.unknown_word_score} is not a number",
        )
        _check(
            0 < self.beam_threshold < inf, f"beam_threshold {self.beam_threshold} is not positive"
        )
        _check(self.max_symbols >= 2, f"max_symbols {self.max_symbols} is under 2")
        _check(0 < self.blank_share <= 1, f"blank_share {self.blank_share} is not in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """A model behind TensorFlow Serving's gRPC port.

    Args:
        address: `host:port`, or whatever else gRPC resolves.
        model: its name there; that of `pipeline.json` if None.
        version: ask for this version; the newest if neither this nor `label` is given.
        label: ask for the version that has this label there, as `stable`.
        deadline_s: longest wait for an answer, retries in it.
        tls: encrypt, and check the server's certificate.
        ca_file: PEM file of whom to trust for `tls`; the system's authorities if None.
        token: sent as `authorization: Bearer …`; only over `tls`.
        max_message_bytes: of a request or an answer; a minute of audio takes 5.3 MB.
    """

    address: str
    model: str | None = None
    version: int | None = None
    label: str | None = None
    deadline_s: float = 30.0
    tls: bool = False
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    max_message_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        _check(_is_address(self.address), f"address {self.address!r}; needed: host:port")
        _check(
            self.version is None or 0 <= self.version < 2**63,
            f"version {self.version} is not in 0 to 2**63 - 1",
        )
        _check(
            self.version is None or self.label is None,
            f"got version {self.version} and label {self.label}; needed: one of them at most",
        )
        _check(0 < self.deadline_s < inf, f"deadline_s {self.deadline_s} is not positive")
        _check(self.ca_file is None or self.tls, "got a ca_file without tls")
        _check(self.token is None or self.tls, "got a token without tls, readable by anyone")
        _check(
            self.max_message_bytes >= 1024**2,
            f"max_message_bytes {self.max_message_bytes} is under 1 MiB",
        )


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Which clips of several requests the model in this process computes together.

    Args:
        max_clips: of a batch; 1 computes every clip alone.
        max_audio_s: of a batch with its padding, by which memory grows: 1 GB at 160 s.
        max_stretch: a batch's longest clip is at most this many times as long as its shortest.
        wait_ms: longest wait for more clips when some wait already; an idle model begins at once.
    """

    max_clips: int = 16
    max_audio_s: float = 120.0
    max_stretch: float = 1.5
    wait_ms: float = 5.0

    def __post_init__(self) -> None:
        _check(self.max_clips >= 1, f"batch_max_clips {self.max_clips} is under 1")
        _check(self.max_audio_s > 0, f"max_audio_s {self.max_audio_s} is not positive")
        _check(self.max_stretch >= 1, f"max_stretch {self.max_stretch} is under 1")
        _check(0 <= self.wait_ms <= 1000, f"batch_wait_ms {self.wait_ms} is not in 0 to 1000")


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """Live captions over a WebSocket; beyond these a client is told why, and its session ends.

    Args:
        max_sessions: at a time.
        idle_s: longest time without audio or keepalive, or in which a client reads nothing.
        max_session_s: longest session.
        max_buffered_s: of audio that waits for the model; then no more is read from the client.
        max_message_bytes: of one message.
    """

    max_sessions: int = 32
    idle_s: float = 30.0
    max_session_s: float = 14_400.0
    max_buffered_s: float = 5.0
    max_message_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        _check(self.max_sessions >= 1, f"live_max_sessions {self.max_sessions} is under 1")
        for name in ("idle_s", "max_session_s", "max_buffered_s"):
            value = getattr(self, name)
            _check(0 < value < inf, f"live_{name} {value} is not over 0")
        _check(
            self.max_message_bytes >= 1024,
            f"live_max_message_bytes {self.max_message_bytes} is under 1024",
        )


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The HTTP service; `api.py` reads these from `STT_…` variables.

    `max_upload_bytes` and `max_duration_s` are for `/upload/`; `max_file_bytes` and
    `max_recording_s` for `/v1/audio/transcriptions`, which takes recordings of hours.
    At most `max_running` uploads are worked on at a time and `max_waiting` more wait; what comes
    beyond is refused. With `compile_clips` XLA compiles, in the background, what computes a clip
    alone. With a `remote` model, of `model` only `pipeline.json` is read, and both that and
    `batching` are the server's own.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: Path = PROJECT_ROOT / "Models" / "english-small"
    log_folder: Path = PROJECT_ROOT / "logs"
    max_upload_bytes: int = 16 * 1024 * 1024
    max_duration_s: float = 120.0
    max_file_bytes: int = 256 * 1024 * 1024
    max_recording_s: float = 4 * 3600.0
    max_running: int = 32
    max_waiting: int = 64
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    compile_clips: bool = True
    remote: RemoteConfig | None = None
    access: AccessConfig = field(default_factory=AccessConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        _check(0 <= self.port <= 65_535, f"port {self.port} is not in 0 to 65535")
        _check(self.max_upload_bytes >= 1, f"max_upload_bytes {self.max_upload_bytes} is under 1")
        _check(self.max_duration_s > 0, f"max_duration_s {self.max_duration_s} is not positive")
        _check(self.max_file_bytes >= 1, f"max_file_bytes {self.max_file_bytes} is under 1")
        _check(self.max_recording_s > 0, f"max_recording_s {self.max_recording_s} is not positive")
        _check(self.max_running >= 1, f"max_running {self.max_running} is under 1")
        _check(self.max_waiting >= 0, f"max_waiting {self.max_waiting} is negative")


@dataclass(frozen=True, kw_only=True)
class ModelServerConfig:
    """The stand-in for TensorFlow Serving; the names are those of the server's own flags."""

    port: int = 8500
    rest_api_port: int = 8501
    model_name: str = ServerConfig.model.name
    model_base_path: Path = ServerConfig.model / "saved_model"
    model_config_file: Path | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    file_system_poll_wait_seconds: float = 1.0
    enable_batching: bool = False
    batching_parameters_file: Path | None = None
    allow_version_labels_for_unavailable_models: bool = False
    grpc_max_threads: int = 4 * (os.cpu_count() or 1)

    def __post_init__(self) -> None:
        _check(1 <= self.port <= 65_535, f"--port {self.port} is not in 1 to 65535")
        rest = self.rest_api_port
        _check(1 <= rest <= 65_535, f"--rest_api_port {rest} is not in 1 to 65535")
        _check(rest != self.port, f"--rest_api_port {rest} cannot be same as --port")
        _check(self.grpc_max_threads >= 1, f"--grpc_max_threads {self.grpc_max_threads} is under 1")
        _check(bool(self.model_name), "--model_name is empty")
        _check(
            self.batching_parameters_file is None or self.enable_batching,
            "--batching_parameters_file is set without --enable_batching",
        )
        for name in ("model_config_file", "file_system"):
            seconds = getattr(self, f"{name}_poll_wait_seconds")
            _check(0 <= seconds < inf, f"--{name}_poll_wait_seconds {seconds} is negative")


def to_json(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain values for a JSON file.

    Added settings are left out where all of them have their defaults, so that the files of models
    that do without them, and what is derived from those files, stay what they were.
    """
    values, added = asdict(config), _added(type(config))
    if added and all(values[name] == getattr(type(config)(), name) for name in added):
        return {name: value for name, value in values.items() if name not in added}
    return values


def features_from_json(values: dict[str, Any]) -> FeatureConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(FeatureConfig, values)


def network_from_json(values: dict[str, Any]) -> NetworkConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    try:
        convolutions = [dict(convolution) for convolution in values["convolutions"]]
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(f"NetworkConfig: got {values!r}; needed: settings by name") from error
    blocks = tuple(
        _from_json(
            ConvolutionConfig,
            {key: tuple(v) if isinstance(v, list) else v for key, v in convolution.items()},
        )
        for convolution in convolutions
    )
    return _from_json(NetworkConfig, {**values, "convolutions": blocks})


def decoding_from_json(values: dict[str, Any]) -> DecodingConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(DecodingConfig, values)


def audio_from_json(values: dict[str, Any]) -> AudioConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(AudioConfig, values)


def _added(kind: type[Any]) -> set[str]:
    """Return the settings that files of earlier models do not have: their defaults hold there."""
    return {entry.name for entry in fields(kind) if entry.metadata == _ADDED}


def _from_json(kind: type[T], values: Any) -> T:
    if not isinstance(values, dict):
        raise ModelError(f"{kind.__name__}: got {values!r}; needed: settings by name")
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    missing, unknown = sorted(names - _added(kind) - values.keys()), sorted(values.keys() - names)
    if missing or unknown:
        raise ModelError(f"{kind.__name__}: missing settings {missing}, unknown settings {unknown}")
    defaults = vars(kind())
    for name, default in ((name, defaults[name]) for name in values):
        wanted = (int, float) if isinstance(default, float) else type(default)
        is_bool = isinstance(values[name], bool)
        if not isinstance(values[name], wanted) or is_bool != isinstance(default, bool):
            raise ModelError(f"{kind.__name__}: {name} is {values[name]!r}; like {default!r}")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{kind.__name__}: {error}") from error
