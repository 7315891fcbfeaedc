"""Ask a TensorFlow Serving through `ovmsclient`, a published client for the same API.

A script, because that package brings its own copies of the messages, which cannot be in a process
beside TensorFlow's. It knows only `serving_default`, and always names a version.
"""

import json
import sys

import numpy as np
import ovmsclient

MODEL = "english-small"


def main(kind: str, address: str, clip: str, answer: str) -> None:
    """Print what is known of the model, and the errors; write a prediction's outputs.

    Args:
        kind: `grpc` or `http`.
        clip: `.npy` file of a waveform.
        answer: `.npz` file to write.
    """
    client = getattr(ovmsclient, f"make_{kind}_client")(address)
    waveform = np.load(clip)
    inputs = {"waveform": waveform[np.newaxis], "num_samples": np.array([len(waveform)], np.int32)}
    np.savez(answer, **client.predict(inputs, MODEL, model_version=1))
    known = {
        "status": client.get_model_status(MODEL, model_version=1),
        "metadata": client.get_model_metadata(MODEL, model_version=1),
        "errors": [
            error_of(client.get_model_status, "nothing", 1),
            error_of(client.get_model_status, MODEL, 7),
            error_of(client.get_model_metadata, "nothing", 1),
            error_of(client.get_model_metadata, MODEL, 7),
            error_of(client.predict, inputs, MODEL, 7),
            error_of(client.predict, {"waveform": inputs["waveform"]}, MODEL, 1),
        ],
    }
    print(json.dumps(known))


def error_of(call, *arguments) -> str:
    """Return the name of the client's error, and the server's words in it."""
    try:
        call(*arguments)
    except ovmsclient.ModelServerError as error:
        return f"{type(error).__name__}: {str(error).partition(': ')[2]}"
    return "none"


if __name__ == "__main__":
    main(*sys.argv[1:])
