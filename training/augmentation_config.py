"""How far training changes its clips, and how often."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from config import check

SPEED_STEPS = 200  # a factor is a whole multiple of 1 / SPEED_STEPS


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What is done to a training clip, how likely (0 is never, 1 always), and how far.

    Ranges are drawn from uniformly, a value a clip.

    Attributes:
        speed_range: factors of playing speed; tempo and pitch change together (Ko et al. 2015).
        tempo_range: factors of tempo at the same pitch (Verhelst and Roelands 1993).
        pitch_range_semitones: of pitch at the same tempo.
        pause_range_s: of quiet before a clip, and of quiet after it; each a quarter of it at most.
        pause_snr_range_db: the clip's mean power over that of the noise in and between its pauses.
        reverb_rt60_range_s: time in which a room's echo falls by 60 dB (Allen and Berkley 1979).
        reverb_num_rooms: simulated responses to choose from.
        noise_snr_range_db: the clip's mean power over that of generated noise.
        noise_exponent_range: its power falls as `hz ** -exponent`: 0 is white, 1 pink, 2 brown.
        recorded_noise_folder: recordings to add as noise; none if empty (Snyder et al. 2015).
        recorded_noise_snr_range_db: as of generated noise.
        high_pass_range_hz: where a band limit begins.
        low_pass_range_hz: where a band limit ends.
        telephone_wide_share: of telephone clips, those of 16 kHz, not 8 kHz (ITU-T G.711).
        gain_range_db: of loudness; a clip that would be clipped is made softer instead.
        frequency_masks: how many bands of bins are set to their mean (Park et al. 2019).
        max_frequency_mask_share: the widest such band, of all bins.
        frames_per_time_mask: a clip has one mask of frames for so many frames (Park et al. 2020).
        max_time_mask_frames: the longest such mask.
        max_time_mask_share: the longest such mask, of the clip's frames.
    """

    speed_probability: float = 0.5
    speed_range: tuple[float, float] = (0.9, 1.1)
    tempo_probability: float = 0.1
    tempo_range: tuple[float, float] = (0.9, 1.1)
    pitch_probability: float = 0.1
    pitch_range_semitones: tuple[float, float] = (-2.0, 2.0)
    pause_probability: float = 0.2
    pause_range_s: tuple[float, float] = (0.0, 1.0)
    pause_snr_range_db: tuple[float, float] = (30.0, 60.0)
    reverb_probability: float = 0.15
    reverb_rt60_range_s: tuple[float, float] = (0.1, 0.4)
    reverb_num_rooms: int = 64
    noise_probability: float = 0.3
    noise_snr_range_db: tuple[float, float] = (10.0, 30.0)
    noise_exponent_range: tuple[float, float] = (0.0, 2.0)
    recorded_noise_probability: float = 0.3
    recorded_noise_folder: str = ""
    recorded_noise_snr_range_db: tuple[float, float] = (10.0, 30.0)
    band_probability: float = 0.1
    high_pass_range_hz: tuple[float, float] = (30.0, 200.0)
    low_pass_range_hz: tuple[float, float] = (5000.0, 10_000.0)
    telephone_probability: float = 0.05
    telephone_wide_share: float = 0.5
    gain_probability: float = 0.5
    gain_range_db: tuple[float, float] = (-12.0, 6.0)
    frequency_mask_probability: float = 0.9
    frequency_masks: int = 2
    max_frequency_mask_share: float = 0.1
    time_mask_probability: float = 0.9
    frames_per_time_mask: int = 100
    max_time_mask_frames: int = 14
    max_time_mask_share: float = 0.2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("probability", "share")):
                check(0 <= value <= 1, f"{field.name} {value} is not between 0 and 1")
            elif "range" in field.name:
                check(len(value) == 2 and value[0] <= value[1], f"{field.name} {value} is none")
            elif isinstance(value, int):
                check(value >= 1, f"{field.name} {value} is under 1")
        for name in ("speed_range", "tempo_range"):
            low, high = getattr(self, name)
            check(low >= 0.5 and high <= 2, f"{name} {(low, high)} is beyond 0.5 to 2")
        low, high = self.pitch_range_semitones
        check(low >= -12 and high <= 12, f"pitch_range_semitones {(low, high)} is beyond 12")
        check(self.pause_range_s[0] >= 0, "pause_range_s begins under 0")
        check(self.reverb_rt60_range_s[0] > 0, "reverb_rt60_range_s does not begin above 0")
        check(self.high_pass_range_hz[0] > 0, "high_pass_range_hz does not begin above 0")
        check(
            self.high_pass_range_hz[1] < self.low_pass_range_hz[0],
            f"high_pass_range_hz {self.high_pass_range_hz} meets low_pass_range_hz",
        )


_NEVER: dict[str, Any] = {
    field.name: 0.0 for field in fields(AugmentationConfig) if field.name.endswith("_probability")
}

STRENGTHS = {
    "none": AugmentationConfig(**_NEVER),
    "masks": AugmentationConfig(
        **{**_NEVER, "frequency_mask_probability": 0.9, "time_mask_probability": 0.9}
    ),
    "light": AugmentationConfig(
        tempo_probability=0.0,
        pitch_probability=0.0,
        reverb_probability=0.05,
        noise_probability=0.2,
        noise_snr_range_db=(15.0, 35.0),
        telephone_probability=0.0,
        frequency_mask_probability=0.7,
        time_mask_probability=0.7,
        frames_per_time_mask=150,
        max_time_mask_frames=10,
    ),
    "mild": AugmentationConfig(),
    "strong": AugmentationConfig(
        speed_probability=0.8,
        speed_range=(0.85, 1.15),
        tempo_probability=0.2,
        tempo_range=(0.85, 1.2),
        pitch_probability=0.2,
        pitch_range_semitones=(-3.0, 3.0),
        pause_probability=0.4,
        pause_range_s=(0.0, 2.0),
        reverb_probability=0.4,
        reverb_rt60_range_s=(0.1, 0.8),
        noise_probability=0.5,
        noise_snr_range_db=(5.0, 30.0),
        recorded_noise_probability=0.5,
        recorded_noise_snr_range_db=(5.0, 30.0),
        band_probability=0.2,
        high_pass_range_hz=(30.0, 400.0),
        low_pass_range_hz=(3000.0, 10_000.0),
        telephone_probability=0.15,
        gain_range_db=(-20.0, 6.0),
        frequency_mask_probability=1.0,
        max_frequency_mask_share=0.15,
        time_mask_probability=1.0,
        frames_per_time_mask=70,
        max_time_mask_frames=20,
    ),
}
