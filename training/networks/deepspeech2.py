"""DeepSpeech2: convolutions over the spectrogram, GRUs of one or both ways, a character output."""

from __future__ import annotations

import keras
from keras import layers

from config import NetworkConfig
from training.networks.forward_layers import MaskedGRU, RowConvolution
from training.networks.layers import (
    MaskedBatchNormalization,
    MaskedBidirectionalGRU,
    MaskedConv2D,
)


def build_deepspeech2(config: NetworkConfig, *, num_bins: int, num_symbols: int) -> keras.Model:
    """Build DeepSpeech2 (Amodei et al. 2016, section 3) with true lengths throughout.

    Returns:
        A model of `features` float32 `[batch, frames, num_bins]` and `num_frames` int32 `[batch]`
        to logits float32 `[batch, out_frames, num_symbols]` and logit_lengths int32 `[batch]`,
        where `out_frames = config.num_output_frames(frames)`.
    """
    features = keras.Input((None, num_bins), name="features")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    x, lengths = layers.Reshape((-1, num_bins, 1), name="channels")(features), num_frames
    for i, block in enumerate(config.convolutions):
        convolution = MaskedConv2D(
            block.filters, block.kernel, block.stride, name=f"convolution_{i}"
        )
        x, lengths = convolution([x, lengths])
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="stack_channels")(x)
    for i in range(config.gru_layers):
        if config.normalise_gru_inputs:
            x = MaskedBatchNormalization(name=f"normalisation_{i}")([x, lengths])
        if config.bidirectional:
            x = MaskedBidirectionalGRU(config.gru_units, name=f"bigru_{i}")([x, lengths])
        else:
            x = MaskedGRU(config.gru_units, name=f"gru_{i}")([x, lengths])
        if i < config.gru_layers - 1:
            x = layers.Dropout(config.dropout, name=f"dropout_{i}")(x)
    if config.lookahead:
        x = RowConvolution(config.lookahead, name="row_convolution")(x)
    if config.dense_units:
        x = layers.Dense(config.dense_units, activation="relu", name="dense")(x)
    x = layers.Dropout(config.dropout, name="dropout_out")(x)
    logits = layers.Dense(num_symbols, dtype="float32", name="logits")(x)
    return keras.Model([features, num_frames], [logits, lengths], name="deepspeech2")
