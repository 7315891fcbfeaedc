"""One process of a training run that several share; the tests start it.

`python -m tests.replica_worker '{"manifest": …, "output": …, "losses": …, "training": {…}}'`
"""

import json
import sys
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
    main(json.loads(sys.argv[1]))
