"""Concurrent requests for the same outputs, joined into one batch and padded to the longest."""

from __future__ import annotations

import threading
from bisect import bisect_left
from concurrent.futures import Future
from typing import Any

import numpy as np
from grpc import StatusCode

from serving.stand_in.servable import Inputs, Run, check


class _Batch:
    def __init__(self) -> None:
        self.tasks: list[Inputs] = []
        self.size, self.full = 0, threading.Event()
        self.outputs: Future[list[list[np.ndarray]]] = Future()


class Batcher:
    """Runs each batch in the thread of its first request; call it from many threads."""

    def __init__(self, parameters: Any) -> None:
        """Take `BatchingParameters`; what is not set is as the server has it."""

        def value(name: str, default: int) -> int:
            return getattr(parameters, name).value if parameters.HasField(name) else default

        self._max_size, self._sizes = value("max_batch_size", 1000), parameters.allowed_batch_sizes
        if self._sizes and [*self._sizes] != sorted({*self._sizes, self._max_size}):
            raise ValueError("allowed_batch_sizes must increase and end at max_batch_size")
        self._timeout_s = value("batch_timeout_micros", 0) / 1e6
        self._max_waiting = value("max_enqueued_batches", 10)
        self._threads = threading.Semaphore(value("num_batch_threads", 2))
        self._pads = parameters.pad_variable_length_inputs
        self._lock = threading.Lock()
        self._queues: dict[Any, list[_Batch]] = {}

    def __call__(self, key: Any, inputs: Inputs, run: Run) -> list[np.ndarray]:
        """Return what `run` gives for these inputs, run together with others of `key`."""
        (size, *others) = {array.shape[:1] for array in inputs.values()}
        message = "Batching session Run() input tensors must have equal 0th-dimension size"
        check(size and not others, message)
        batch, place = self._join(key, inputs, size[0])
        if place == 0:
            self._lead(key, batch, run)
        return batch.outputs.result()[place]

    def _join(self, key: Any, inputs: Inputs, size: int) -> tuple[_Batch, int]:
        message = f"Task size {size} is larger than maximum batch size {self._max_size}"
        check(size <= self._max_size, message)
        with self._lock:
            queue = self._queues.setdefault(key, [])
            if not queue or queue[-1].size + size > self._max_size:
                message = "The batch scheduling queue to which this task was submitted is full"
                check(len(queue) < self._max_waiting, message, StatusCode.UNAVAILABLE)
                queue.append(_Batch())
            batch = queue[-1]
            batch.tasks.append(inputs)
            batch.size += size
            for waiting in queue[: None if batch.size == self._max_size else -1]:
                waiting.full.set()
            return batch, len(batch.tasks) - 1

    def _lead(self, key: Any, batch: _Batch, run: Run) -> None:
        batch.full.wait(self._timeout_s)
        with self._threads:
            with self._lock:  # from here on nobody joins
                self._queues[key].remove(batch)
                if not self._queues[key]:
                    del self._queues[key]
            try:
                outputs = run(self._merge(batch))
                ends = np.cumsum([len(next(iter(task.values()))) for task in batch.tasks])
                parts = [np.split(output[: ends[-1]], ends[:-1]) for output in outputs]
                batch.outputs.set_result(list(map(list, zip(*parts, strict=True))))
            except Exception as error:  # each request of the batch gets it
                batch.outputs.set_exception(error)

    def _merge(self, batch: _Batch) -> Inputs:
        merged = {}
        for name in batch.tasks[0]:
            arrays = [task[name] for task in batch.tasks]
            longest = np.max([array.shape[1:] for array in arrays], axis=0)
            message = f"Tensors with name '{name}' from different tasks have different shapes and "
            message += (
                "padding is turned off.Set pad_variable_length_inputs to true, or ensure that"
            )
            message += (
                " all tensors with the same namehave equal dimensions starting with the first"
            )
            message += " dim."
            fits = self._pads or all(array.shape[1:] == (*longest,) for array in arrays)
            check(fits, message, StatusCode.FAILED_PRECONDITION)
            arrays = [_pad(array, longest) for array in arrays]
            if self._sizes:
                extra = self._sizes[bisect_left(self._sizes, batch.size)] - batch.size
                arrays.append(np.repeat(arrays[-1][:1], extra, axis=0))
            merged[name] = np.concatenate(arrays)
        return merged


def _pad(array: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Pad all axes but the first with the array's first element, as the server does."""
    widths = [(0, 0), *((0, want - has) for has, want in zip(array.shape[1:], shape, strict=True))]
    return np.pad(array, widths, constant_values=array.flat[0] if array.size else 0)
