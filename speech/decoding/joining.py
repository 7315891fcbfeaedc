"""Decoded pieces of a recording to the transcript of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from speech.decoding.beam import join_hypotheses
from speech.decoding.decoder import Decoded, DecodedWord
from speech.pipeline import Pipeline
from speech.segmentation import Span
from speech.transcript import Alternative, Transcript, Word


def join_pieces(
    parts: Sequence[tuple[Span, Decoded]], num_samples: int, *, pipeline: Pipeline, n_best: int
) -> Transcript:
    """Return the transcript of a recording; words get its times.

    Args:
        parts: each piece's place in the recording, and what it says, in order.
        num_samples: of the recording, at the pipeline's rate.
        n_best: likeliest texts to give, if over 1.
    """
    words = tuple(word for span, part in parts for word in _words(part.words, span, pipeline))
    hypotheses = join_hypotheses([part.hypotheses for _, part in parts], n_best=n_best)
    weights = [max(1, len(part.words)) for _, part in parts]
    sure = [part.confidence for _, part in parts]
    confidence = np.average(sure, weights=weights) if parts else 1.0
    return Transcript(
        text=hypotheses[0].text,
        confidence=round(float(confidence), 4),
        duration_s=round(num_samples / pipeline.audio.sample_rate_hz, 3),
        model=pipeline.name,
        words=words,
        alternatives=tuple(
            Alternative(text=h.text, score=round(h.score, 4))
            for h in (hypotheses if n_best > 1 else ())
        ),
    )


def _words(words: Sequence[DecodedWord], span: Span, pipeline: Pipeline) -> Iterator[Word]:
    """Give words the times of the recording.

    A word's sound goes on for about a frame after its last letter's: measured on words joined with
    known silences, `tests/test_word_times.py`.
    """
    rate, frame_s = pipeline.audio.sample_rate_hz, pipeline.output_frame_s
    offset_s, longest_s = span.start / rate, span.num_samples / rate
    followings = [word.start for word in words[1:]] + [word.end + 1 for word in words[-1:]]
    for word, following in zip(words, followings, strict=True):
        end = min(word.end + 1, max(following, word.end))
        yield Word(
            text=word.text,
            start_s=round(offset_s + min(word.start * frame_s, longest_s), 3),
            end_s=round(offset_s + min(end * frame_s, longest_s), 3),
            confidence=round(word.confidence, 4),
        )
