"""Simulated rooms: what a sound becomes on its way from a mouth to a microphone."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

_SOUND_M_PER_S = 343.0
_SMALLEST_M, _LARGEST_M = (3.0, 3.0, 2.4), (8.0, 7.0, 3.5)
_FROM_WALL_M = 0.4
_NEAREST_M, _FARTHEST_M = 0.3, 3.0
_MAX_RESPONSE_S = 0.6
_HIGH_PASS_HZ = 80.0


@lru_cache(maxsize=4)
def room_responses(
    *, num_rooms: int, rt60_range_s: tuple[float, float], sample_rate_hz: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return float32 `[num_rooms, taps]`: rooms, mouths and microphones at random.

    Each begins with the direct sound, of size 1; echoes end with its RT60 or after 0.6 s.
    """
    draw = np.random.default_rng(seed)
    responses = []
    for _ in range(num_rooms):
        rt60_s = draw.uniform(*rt60_range_s)
        size_m = draw.uniform(_SMALLEST_M, _LARGEST_M)
        source_m, microphone_m = _places(draw, size_m)
        responses.append(
            simulate_room(
                size_m, source_m, microphone_m, rt60_s=rt60_s, sample_rate_hz=sample_rate_hz
            )
        )
    taps = max(len(response) for response in responses)
    return np.stack([np.pad(response, (0, taps - len(response))) for response in responses])


def simulate_room(
    size_m: NDArray[np.float64],
    source_m: NDArray[np.float64],
    microphone_m: NDArray[np.float64],
    *,
    rt60_s: float,
    sample_rate_hz: int,
) -> NDArray[np.float32]:
    """Return float32 `[taps]`, the response of a box whose walls are all alike.

    Every echo is the sound of a mirror image of the source, weaker by its distance and by each
    wall that it was mirrored at. The time of the direct sound is taken off.

    Args:
        size_m: `[3]`, of the box.
        source_m: `[3]`.
        microphone_m: `[3]`, at another place.
        rt60_s: in which echoes fall by 60 dB.
        sample_rate_hz: of the response.

    Source: Allen and Berkley 1979, "Image method for efficiently simulating small-room acoustics",
    but with a Butterworth high-pass of second order at 80 Hz for theirs; absorption by Eyring 1930.
    """
    volume, walls = size_m.prod(), 2 * (size_m.prod() / size_m).sum()
    # Eyring: rt60 = 0.161 V / (-S ln(1 - absorption)); pressure reflects by sqrt(1 - absorption).
    log_reflection = -0.5 * 0.161 * volume / (walls * rt60_s)
    direct_m = float(np.linalg.norm(source_m - microphone_m))
    length_s = min(rt60_s, _MAX_RESPONSE_S)
    reach_m = direct_m + length_s * _SOUND_M_PER_S
    response = np.zeros(int(length_s * sample_rate_hz) + 1)
    for mirrored in product((0, 1), repeat=3):
        axes = [
            _images(size_m[i], source_m[i], microphone_m[i], mirrored[i], reach_m) for i in range(3)
        ]
        squares = axes[0][0][:, None, None] + axes[1][0][:, None] + axes[2][0]
        bounces = axes[0][1][:, None, None] + axes[1][1][:, None] + axes[2][1]
        near = squares < reach_m**2
        distance_m = np.sqrt(squares[near])
        size = direct_m / distance_m * np.exp(log_reflection * bounces[near])
        delay = np.rint((distance_m - direct_m) / _SOUND_M_PER_S * sample_rate_hz).astype(int)
        response += np.bincount(delay, size, minlength=len(response))[: len(response)]
    response = lfilter(*butter(2, _HIGH_PASS_HZ, "high", fs=sample_rate_hz), response)
    return (response / response[0]).astype(np.float32)


def _images(
    size_m: float, source_m: float, microphone_m: float, mirrored: int, reach_m: float
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Return along one axis the squared distances of images, and the walls each met."""
    count = int(np.ceil(reach_m / (2 * size_m))) + 1
    index = np.arange(-count, count + 1)
    place = (1 - 2 * mirrored) * source_m + 2 * index * size_m
    walls = np.abs(index - mirrored) + np.abs(index)
    return (place - microphone_m) ** 2, walls


def _places(
    draw: np.random.Generator, size_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw where the mouth and the microphone are, away from the walls and from each other."""
    while True:
        source_m, microphone_m = draw.uniform(_FROM_WALL_M, size_m - _FROM_WALL_M, (2, 3))
        if _NEAREST_M <= np.linalg.norm(source_m - microphone_m) <= _FARTHEST_M:
            return source_m, microphone_m
