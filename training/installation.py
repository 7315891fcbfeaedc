"""The packages of a notebook: at the project's pins, or a clear word that a restart is due."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from config import SpeechToTextError

REQUIREMENTS = "requirements.txt"

# What this process had imported when pip replaced it; only a new process is rid of it.
_stale: set[str] = set()


class RestartNeededError(SpeechToTextError):
    """Packages were replaced that are in use: a mixture of old and new must not go on."""

    def _render_traceback_(self) -> list[str]:
        """Let a notebook show the message alone."""
        return [f"RESTART NEEDED\n\n{self}"]


def install(project: Path, *, say: Callable[[str], None] = print) -> None:
    """Bring what the project runs on to its pins; do nothing if it is there.

    Only the project's dependencies and theirs are touched, not the packages that the notebook
    server itself runs on. Where there is an NVIDIA driver that TensorFlow does not see, NVIDIA's
    libraries for it are installed too.

    Raises:
        RestartNeededError: something that is in use was replaced, now or by an earlier call.
        SpeechToTextError: pip failed.
    """
    pins = read_pins(project / REQUIREMENTS)
    direct = direct_dependencies(project / "pyproject.toml")
    if found := find_differences(pins, direct):
        say("installing the project's versions of " + ", ".join(sorted(found)))
        _pip_install(project, [f"{n}=={pins[n]}" if n in pins else n for n in direct])
    else:
        say(f"all of the {len(direct)} packages needed are there, at the project's versions")
    if _driver_is_there() and "tensorflow" in direct and not _tensorflow_sees_gpu():
        say("TensorFlow does not see the GPU yet: installing NVIDIA's libraries for it")
        _pip_install(project, [f"tensorflow[and-cuda]=={pins['tensorflow']}"])
        _stale.update({"tensorflow"} & sys.modules.keys())
    if _stale:
        raise RestartNeededError(
            f"These were in use and have been replaced: {', '.join(sorted(_stale))}. Restart now "
            "(Colab: Runtime > Restart session; Jupyter: Kernel > Restart), then run all cells "
            "again from the top. Nothing is installed twice."
        )


def read_pins(path: Path) -> dict[str, str]:
    """Return name to version of the lines `name==version` of a file; names are canonical."""
    lines = path.read_text(encoding="utf-8").split()
    return {_canonical(name): pin for name, _, pin in (line.partition("==") for line in lines)}


def direct_dependencies(path: Path) -> list[str]:
    """Return the canonical names of a `pyproject.toml`'s dependencies, without extras."""
    from packaging.requirements import Requirement

    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return [_canonical(Requirement(text).name) for text in project["dependencies"]]


def find_differences(pins: dict[str, str], names: Iterable[str]) -> set[str]:
    """Return what is missing or has another version than its pin: of `names` and all they need."""
    todo, seen, different = list(names), set[str](), set[str]()
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            different.add(name)
            continue
        if distribution.version != pins.get(name, distribution.version):
            different.add(name)
        todo += _needs(distribution)
    return different


def _needs(distribution: metadata.Distribution) -> list[str]:
    """Return what a package needs on this machine, without its extras."""
    from packaging.requirements import Requirement

    requirements = map(Requirement, distribution.requires or [])
    return [
        _canonical(needed.name)
        for needed in requirements
        if needed.marker is None or needed.marker.evaluate({"extra": ""})
    ]


def _pip_install(project: Path, wanted: list[str]) -> None:
    before = _versions_in_use()
    options = ["--quiet", "--disable-pip-version-check", "--constraint", project / REQUIREMENTS]
    command = [sys.executable, "-m", "pip", "install", *map(str, options), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpeechToTextError(
            f"pip could not install the project's packages:\n{done.stderr.strip()[-2000:]}"
        )
    importlib.invalidate_caches()
    _stale.update(name for name, version in before.items() if _version(name) != version)


def _versions_in_use() -> dict[str, str]:
    """Return the version of each package of which this process has imported a module."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    loaded = {os.path.realpath(file) for file in files if file}
    return {
        _canonical(distribution.name): distribution.version
        for distribution in metadata.distributions()
        if distribution.name and _is_loaded(distribution, loaded)
    }


def _is_loaded(distribution: metadata.Distribution, loaded: set[str]) -> bool:
    base = os.path.realpath(str(distribution.locate_file("")))
    return any(os.path.join(base, str(file)) in loaded for file in distribution.files or [])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _driver_is_there() -> bool:
    return shutil.which("nvidia-smi") is not None


def _tensorflow_sees_gpu() -> bool:
    """Ask in another process: this one may yet have to be restarted."""
    code = "import tensorflow as tf, sys; sys.exit(not tf.config.list_physical_devices('GPU'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    return done.returncode == 0


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
