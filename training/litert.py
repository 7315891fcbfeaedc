"""Export a trained network for LiteRT, which runs models on phones and small boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from config import ModelError
from speech.audio import write_atomically
from speech.features import extract_features
from speech.pipeline import Pipeline, read_pipeline
from training.export import load_network
from training.networks.inference import InferenceNetwork
from training.networks.inference_weights import InferenceWeights, fold_weights
from training.networks.weights import read_weights
from training.served_model import Precision

MODEL_FILE = "model.tflite"
ALPHABET_FILE = "alphabet.txt"
_WEIGHTS_OF = (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.CONV_2D)
_DEQUANTIZE_VERSION = 3  # the first that takes float16


def export_litert(folder: Path, *, precision: Precision = "float32") -> Path:
    """Write `folder/litert/`: `model.tflite` and, a symbol a line, `alphabet.txt`.

    The model takes `waveform`, float32 `[1, samples]` in [-1, 1] at the rate of `pipeline.json`,
    and gives `log_probs`, float32 `[1, frames, symbols]`. It needs LiteRT's own operations only.

    Args:
        precision: of the network's weights. What is computed with float16 weights is float32;
            int8 ones also round what they are multiplied with.

    Returns:
        The path of `model.tflite`.

    Raises:
        ModelError: the model's files are missing or broken, or LiteRT has no such precision.
    """
    if precision == "bfloat16":
        raise ModelError("LiteRT has no bfloat16 weights; needed: float32, float16 or int8")
    pipeline = read_pipeline(folder)
    weights = read_weights(load_network(folder / "model.keras", pipeline))
    network = InferenceNetwork(weights.convolutions, fast=False)
    converter = _make_converter(network, fold_weights(weights), pipeline)
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    if precision == "float16":
        content = _halve_weights(content)
    target = folder / "litert"
    write_atomically(target / ALPHABET_FILE, pipeline.alphabet.to_lines())
    write_atomically(target / MODEL_FILE, content)
    return target / MODEL_FILE


def _make_converter(
    network: InferenceNetwork, weights: InferenceWeights, pipeline: Pipeline
) -> tf.lite.TFLiteConverter:
    @tf.function(
        input_signature=[tf.TensorSpec([1, None], tf.float32, "waveform")], autograph=False
    )
    def compute(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        features, num_frames = extract_features(
            waveform,
            tf.shape(waveform)[1:],
            pipeline.features,
            sample_rate_hz=pipeline.audio.sample_rate_hz,
            for_litert=True,
        )
        # The converter loses the number of clips, and without it has no loops.
        features = tf.reshape(features, [1, -1, pipeline.features.num_bins])
        constants = tf.nest.map_structure(tf.constant, weights)
        logits, _ = network.compute(constants, features, num_frames)
        return {"log_probs": tf.nn.log_softmax(logits)}

    return tf.lite.TFLiteConverter.from_concrete_functions(
        [compute.get_concrete_function()], tf.Module()
    )


def _halve_weights(content: bytes) -> bytes:
    """Return the model with matrices and kernels as float16, from which it makes float32 ones.

    The converter's own float16 would also round the window, and quiet parts of a clip drown in
    that.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    kinds = [code.builtinCode for code in model.operatorCodes]
    weights = {
        index
        for graph in model.subgraphs
        for operator in graph.operators
        if kinds[operator.opcodeIndex] in _WEIGHTS_OF
        if model.buffers[index := graph.tensors[operator.inputs[1]].buffer].data is not None
    }
    for index in weights:
        values = np.asarray(model.buffers[index].data, np.uint8).view(np.float32)
        model.buffers[index].data = values.astype(np.float16).view(np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = _DEQUANTIZE_VERSION
    model.operatorCodes.append(code)
    for graph in model.subgraphs:
        _read_as_float32(graph, weights, len(model.operatorCodes) - 1)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _read_as_float32(graph: Any, weights: set[int], opcode_index: int) -> None:
    """Say that `weights`, indices of buffers, are float16, and put float32 where they are used."""
    whole: dict[int, int] = {}
    dequantize = []
    for index, tensor in enumerate(list(graph.tensors)):
        if tensor.buffer not in weights:
            continue
        copy = schema.TensorT()
        copy.name, copy.shape, copy.type = tensor.name + b"/float32", tensor.shape, tensor.type
        tensor.type = schema.TensorType.FLOAT16
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs = opcode_index, [index]
        operator.outputs = [len(graph.tensors)]
        whole[index] = len(graph.tensors)
        graph.tensors.append(copy)
        dequantize.append(operator)
    for operator in graph.operators:
        operator.inputs = [whole.get(index, index) for index in operator.inputs]
    graph.operators = dequantize + graph.operators
