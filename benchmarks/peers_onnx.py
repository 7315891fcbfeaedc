"""The same network as an ONNX graph made by hand, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.networks.weights import Convolution, Dense, Recurrent, Weights

OPSET = 17


class OnnxPeer:
    """ONNX Runtime's session called with arrays."""

    def __init__(self, weights: Weights, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            build_onnx(weights).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, features: NDArray[np.float32], num_frames: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return log-probabilities float32 `[batch, frames, symbols]`."""
        inputs = {"features": features, "num_frames": num_frames}
        return np.asarray(self._session.run(["log_probs"], inputs)[0])


def build_onnx(weights: Weights) -> onnx.ModelProto:
    """Return a graph of `features` and `num_frames` to `log_probs`; batch norm is folded."""
    graph = _Graph()
    x, lengths = graph.add("Unsqueeze", "features", graph.constant([1])), "num_frames"
    for block in weights.convolutions:
        x, lengths = _convolve(graph, block, x, lengths)
    x = graph.add("Transpose", x, perm=[2, 0, 3, 1])  # [frames, batch, bins, channels]
    x = graph.add("Reshape", x, graph.constant([0, 0, -1]))
    for recurrent in weights.recurrent:
        x = _recur(graph, recurrent, x, lengths)
    if weights.hidden:
        x = graph.add("Relu", _multiply(graph, weights.hidden, x))
    x = graph.add("LogSoftmax", _multiply(graph, weights.logits, x), axis=-1)
    graph.add("Transpose", x, perm=[1, 0, 2], output="log_probs")
    return graph.model(weights.num_bins, len(weights.logits.bias))


def _convolve(graph: _Graph, block: Convolution, x: str, lengths: str) -> tuple[str, str]:
    """Return float `[batch, channels, frames, bins]`, zero beyond each clip's end, and lengths."""
    kernel, bias = block.folded()
    x = graph.add(
        "Conv",
        x,
        graph.constant(kernel.transpose(3, 2, 0, 1)),
        graph.constant(bias),
        strides=list(block.stride),
        pads=[*block.padding, *block.padding],
    )
    stride = np.int32(block.stride[0])
    lengths = graph.add("Add", lengths, graph.constant(stride - np.int32(1)))
    lengths = graph.add("Div", lengths, graph.constant(stride))
    frames = graph.add("Cast", graph.add("Shape", x, start=2, end=3), to=TensorProto.INT32)
    last = graph.add("Squeeze", frames, graph.constant([0]))
    places = graph.add("Range", graph.constant(np.int32(0)), last, graph.constant(np.int32(1)))
    inside = graph.add("Less", places, graph.add("Unsqueeze", lengths, graph.constant([1])))
    mask = graph.add("Cast", inside, to=TensorProto.FLOAT)
    mask = graph.add("Unsqueeze", mask, graph.constant([1, 3]))
    return graph.add("Mul", graph.add("Relu", x), mask), lengths


def _recur(graph: _Graph, recurrent: Recurrent, x: str, lengths: str) -> str:
    """Return float `[frames, batch, 2 * units]`; ONNX has Keras' order of gates."""
    directions = recurrent.folded()
    states = graph.add(
        "GRU",
        x,
        graph.constant(np.stack([d.kernel.T for d in directions])),
        graph.constant(np.stack([d.recurrent.T for d in directions])),
        graph.constant(np.stack([d.bias.reshape(-1) for d in directions])),
        lengths,
        direction="bidirectional",
        hidden_size=recurrent.units,
        linear_before_reset=1,
    )
    by_frame = graph.add("Transpose", states, perm=[0, 2, 1, 3])
    return graph.add("Reshape", by_frame, graph.constant([0, 0, -1]))


def _multiply(graph: _Graph, dense: Dense, x: str) -> str:
    product = graph.add("MatMul", x, graph.constant(dense.kernel))
    return graph.add("Add", product, graph.constant(dense.bias))


class _Graph:
    """Nodes and constants in the order in which they are added, named by their number."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        array = np.ascontiguousarray(value)
        name = f"constant_{len(self._constants)}"
        shape = np.shape(value)
        self._constants.append(numpy_helper.from_array(array.reshape(shape), name))
        return name

    def model(self, num_bins: int, num_symbols: int) -> onnx.ModelProto:
        def values(name: str, kind: int, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        graph = helper.make_graph(
            self._nodes,
            "deepspeech2",
            [
                values("features", TensorProto.FLOAT, "batch", "frames", num_bins),
                values("num_frames", TensorProto.INT32, "batch"),
            ],
            [values("log_probs", TensorProto.FLOAT, "batch", "out_frames", num_symbols)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model
