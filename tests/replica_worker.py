"""One process of a training run that several share; the tests start it.

`python -m tests.replica_worker '{"manifest": …, "output": …, "losses": …, "training": {…}}'`
or, without a run, `'{"meets": n}'`: gathers n times from all workers, then waits.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


def small_recipe(**training: Any) -> Any:
    """One layer of each kind, and nothing random in them."""
    from tests.runs import recipe

    plain = recipe(**training)
    first = plain.network.convolutions[:1]
    network = replace(plain.network, convolutions=first, gru_layers=1, dropout=0.0)
    return replace(plain, network=network)


def meet(times: int) -> None:
    from config import SpeechToTextError
    from training.distribution import connect

    replicas = connect("multi-worker")
    try:
        for _ in range(times):
            replicas.any(False)
            print("met", flush=True)
    except SpeechToTextError as error:
        sys.exit(f"error: {error}")
    time.sleep(600)


def main(settings: dict[str, Any]) -> None:
    import tensorflow as tf

    if settings["training"]["strategy"] == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    from tests.runs import stop_after
    from training.manifest import read_manifest
    from training.train import train

    losses: list[float] = []
    train(
        read_manifest(Path(settings["manifest"])),
        Path(settings["output"]),
        small_recipe(**settings["training"]),
        on_step=lambda p: losses.append(p.loss),
        should_stop=stop_after(settings["stop_after"]),
    )
    Path(settings["losses"]).write_text(json.dumps(losses), encoding="utf-8")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    meet(given["meets"]) if "meets" in given else main(given)
