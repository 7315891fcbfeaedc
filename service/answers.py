"""What the routes answer that say how the service is."""

from __future__ import annotations

from pydantic import BaseModel, Field

from predictor import Predictor


class LiveAnswer(BaseModel):
    """The process turns."""

    status: str = Field(description="`alive`.", examples=["alive"])


class ReadyAnswer(BaseModel):
    """A model answers."""

    status: str = Field(description="`ready`.", examples=["ready"])
    model: str = Field(description="Which model.", examples=["english-small"])
    version: str | None = Field(
        None,
        description="Which version of it: a number, or what is asked of TensorFlow Serving.",
        examples=["1"],
    )

    @classmethod
    def of(cls, predictor: Predictor) -> ReadyAnswer:
        """Return the answer for the model of a predictor."""
        backend = predictor.backend
        return cls(status="ready", model=backend.pipeline.name, version=backend.version)


class AudioForm(BaseModel):
    """The native form of audio, in the words of an earlier service."""

    sample_rate: int = Field(description="In hertz.", examples=[22050])
    format: str = Field(description="Encoding and container.", examples=["16-bit PCM WAV"])
    channels: str = Field(description="How many channels.", examples=["mono"])


class StatusAnswer(BaseModel):
    """The service runs."""

    status: str = Field(description="`ok`.", examples=["ok"])
    message: str = Field(
        description="What runs.", examples=["WAV to Tensor Processor API is running"]
    )
    audio_specs: AudioForm = Field(
        description="The audio that `/upload/` takes.",
        examples=[{"sample_rate": 22050, "format": "16-bit PCM WAV", "channels": "mono"}],
    )


class AudioSpecs(AudioForm):
    """What `/upload/` takes, in full."""

    sample_width_bytes: int = Field(description="Bytes a sample.", examples=[2])
    encoding: str = Field(description="Of samples.", examples=["signed 16-bit little-endian PCM"])
    container: str = Field(description="The file's form.", examples=["RIFF/WAVE"])
    max_duration_s: float = Field(description="Longest clip, in seconds.", examples=[120.0])
    max_upload_bytes: int = Field(description="Largest file.", examples=[16777216])
