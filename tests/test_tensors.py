"""Tensors as messages: as TensorFlow itself writes and reads them."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from serving.stubs import predict_pb2
from serving.tensors import dtype_name, fill_proto, to_array
from tests.model_servers import ROOT

ARRAYS = [
    np.array([[0.1, -2.5], [np.inf, 1e-30]], np.float32),
    np.array([1, -7], np.int32),
    np.array([[2**40]], np.int64),
    np.zeros((2, 0), np.float32),
    np.array(3.0, np.float32),
    np.array([[b"\x00\xff", b""]], object),
]


def to_proto(array: np.ndarray, *, packed: bool = True):
    request = predict_pb2.PredictRequest()
    fill_proto(request.inputs["x"], array, packed=packed)
    return request.inputs["x"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensorflow_reads_what_is_written(array: np.ndarray, packed: bool) -> None:
    proto = to_proto(array, packed=packed)
    assert bool(proto.tensor_content) == (packed and array.dtype != object and array.size > 0)
    for read in (tf.make_ndarray(proto), to_array(proto)):
        assert read.shape == array.shape
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_what_tensorflow_writes_is_read(array: np.ndarray) -> None:
    np.testing.assert_array_equal(to_array(tf.make_tensor_proto(array)), array)


def test_one_value_fills_a_shape() -> None:
    np.testing.assert_array_equal(
        to_array(tf.make_tensor_proto(2.5, shape=[2, 3])), np.full((2, 3), 2.5)
    )


def test_what_cannot_be_read_is_a_value_error() -> None:
    proto = to_proto(np.zeros((2, 3), np.float32))
    proto.tensor_shape.dim[1].size = 4
    with pytest.raises(ValueError, match="cannot reshape"):
        to_array(proto)
    with pytest.raises(ValueError, match="got a tensor of type complex64; needed: one of float"):
        to_array(tf.make_tensor_proto(1j, dtype=tf.complex64))


def test_a_shape_far_larger_than_its_values_is_refused() -> None:
    proto = tf.make_tensor_proto(1.0, shape=[1])
    proto.tensor_shape.dim[0].size = 2**40
    with pytest.raises(ValueError, match="needed: at most"):
        to_array(proto)


def test_types_have_the_servers_names() -> None:
    assert [dtype_name(dtype.as_datatype_enum) for dtype in (tf.float32, tf.string, tf.int64)] == [
        "float",
        "string",
        "int64",
    ]


def test_the_stubs_leave_tensorflow_to_be_imported_afterwards() -> None:
    code = """
import sys
from serving.stubs import predict_pb2
assert "tensorflow" not in sys.modules
import tensorflow as tf
request = predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
assert tf.make_ndarray(request.inputs["x"]).tolist() == [1.0]
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
