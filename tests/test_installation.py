"""Packages at their pins: a real pip in a virtual environment, with packages made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from training.installation import direct_dependencies, find_differences, read_pins

ROOT = Path(__file__).parents[1]
PROJECT = '[project]\nname = "x"\ndependencies = ["sttdemo>=1"]\n'


def write_wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """Write a wheel of one module that knows its version."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in {**files, f"{about}/RECORD": record}.items():
            wheel.writestr(path, content)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python with `sttdemo` 1.0, wheels of 2.0, and a project that is pinned to 2.0."""
    folder = tmp_path_factory.mktemp("machine")
    wheels, project = folder / "wheels", folder / "project"
    wheels.mkdir()
    project.mkdir()
    needs = "Requires-Dist: sttpart\nRequires-Dist: sttnever; python_version < '3'\n"
    for version in ("1.0", "2.0"):
        write_wheel(wheels, "sttdemo", version, needs)
        write_wheel(wheels, "sttpart", version)
    (project / "pyproject.toml").write_text(PROJECT)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    return {"python": folder / "venv/bin/python", "wheels": wheels, "project": project}


def run(machine: dict[str, Path], code: str) -> list[object]:
    """Return what `code` puts into the list `found`, in a new process of that Python."""
    start = (
        f"import sys, json; sys.path[:0] = [{str(ROOT)!r}]; found = []\n"
        f"from pathlib import Path; project = Path({str(machine['project'])!r})\n"
        "from training import installation\n"
        "installation._driver_is_there = lambda: False\n"
        "def attempt():\n"
        "    try: installation.install(project, say=found.append)\n"
        "    except Exception as error: found.extend([type(error).__name__, str(error)])\n"
    )
    done = subprocess.run(
        [machine["python"], "-c", f"{start}{code}\nprint(json.dumps(found))"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": sysconfig.get_paths()["purelib"],  # for `packaging`
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(machine["wheels"]),
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def pin(machine: dict[str, Path], demo: str, part: str) -> None:
    text = f"sttdemo=={demo}\nsttpart=={part}\n"
    (machine["project"] / "requirements.txt").write_text(text)


def test_install_replace_restart(machine: dict[str, Path]) -> None:
    """One story: a bare machine, nothing to do, a part replaced that is in use, a new process."""
    pin(machine, "1.0", "1.0")
    said = run(machine, "attempt(); import sttpart; found.append(sttpart.version); attempt()")
    assert said == [
        "installing the project's versions of sttdemo",
        "1.0",
        "all of the 1 packages needed are there, at the project's versions",
    ]
    pin(machine, "1.0", "2.0")
    said = run(machine, "import sttpart; attempt(); attempt(); found.append(sttpart.version)")
    assert said[:2] == ["installing the project's versions of sttpart", "RestartNeededError"]
    assert "in use and have been replaced: sttpart. Restart now" in str(said[2])
    # To run the cell again is no restart: the old module is still in use.
    assert said[3:5] == [
        "all of the 1 packages needed are there, at the project's versions",
        "RestartNeededError",
    ]
    assert said[-1] == "1.0"
    said = run(machine, "attempt(); import sttpart; found.append(sttpart.version)")
    assert said[1:] == ["2.0"]
    # What is replaced but not in use needs no restart.
    pin(machine, "2.0", "2.0")
    said = run(machine, "import sttpart; attempt()")
    assert said == ["installing the project's versions of sttdemo"]


def test_a_pip_that_fails_is_quoted(machine: dict[str, Path]) -> None:
    pin(machine, "9.9", "2.0")
    said = run(machine, "attempt()")
    assert said[1] == "SpeechToTextError"
    assert "sttdemo==9.9" in str(said[2])


def test_a_restart_is_shown_without_a_traceback(machine: dict[str, Path]) -> None:
    code = "found.extend(installation.RestartNeededError('do it')._render_traceback_())"
    assert run(machine, code) == ["RESTART NEEDED\n\ndo it"]


def test_nvidia_s_libraries_come_only_where_the_gpu_is_not_seen(machine: dict[str, Path]) -> None:
    (machine["project"] / "requirements.txt").write_text("tensorflow==1.5\n")
    (machine["project"] / "pyproject.toml").write_text(PROJECT.replace("sttdemo>=1", "tensorflow"))
    fake = (
        "installation.find_differences = lambda *_: set()\n"
        "installation._driver_is_there = lambda: True\n"
        "installation._pip_install = lambda _, wanted: found.append(wanted)\n"
    )
    seen = run(machine, f"{fake}installation._tensorflow_sees_gpu = lambda: True\nattempt()")
    assert seen[1:] == []
    unseen = run(machine, f"{fake}installation._tensorflow_sees_gpu = lambda: False\nattempt()")
    assert unseen[2] == ["tensorflow[and-cuda]==1.5"]
    (machine["project"] / "pyproject.toml").write_text(PROJECT)


def test_here_all_is_at_the_project_s_pins() -> None:
    pins = read_pins(ROOT / "requirements.txt")
    direct = direct_dependencies(ROOT / "pyproject.toml")
    assert {"tensorflow", "keras", "python-multipart"} <= set(direct)
    assert set(direct) <= pins.keys()
    assert find_differences(pins, direct) == set()
    assert find_differences({**pins, "keras": "0.1"}, direct) == {"keras"}
