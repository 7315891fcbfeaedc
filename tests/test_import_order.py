"""Who may import whom, as the design orders it, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {
    "api",
    "cli",
    "cli_analysis",
    "cli_augment",
    "cli_choices",
    "cli_language_model",
    "cli_learning_rate",
    "cli_listen",
    "cli_synthesis",
    "cli_training",
    "cli_tuning",
    "config",
    "predictor",
    "quiet_start",
    "recogniser",
    "server_flags",
    "service_config",
    "serving_config",
    "settings",
    "terminal",
    "transcription",
} | {
    "captions",
    "service",
    "serving",
    "speech",
    "training",
}
MAY_IMPORT = {
    "config": set(),
    "serving_config": {"config"},
    "service_config": {"config", "serving_config"},
    "speech": {"config", "quiet_start"},
    "serving": {"config", "serving_config", "speech"},
    "recogniser": {"serving", "speech"},
    "predictor": {
        "config",
        "quiet_start",
        "recogniser",
        "service_config",
        "serving",
        "serving_config",
        "speech",
    },
    "captions": {"config", "predictor", "speech"},
    "service": {"captions", "config", "predictor", "recogniser", "service_config", "speech"},
    "settings": {"service_config", "serving_config"},
    "server_flags": {"serving_config"},
    "transcription": {"config", "speech", "predictor"},
    "training": {"config", "speech"},
    "training.evaluate": {"config", "speech", "predictor"},
    "training.analysis_noise": {"config", "speech", "predictor"},
    "training.analysis_run": {"config", "speech", "predictor"},
    "training.tuning": {"config", "speech", "predictor"},
    "cli_analysis": {
        "cli_choices",
        "config",
        "predictor",
        "quiet_start",
        "service_config",
        "settings",
        "speech",
        "terminal",
        "training",
    },
    "cli_augment": {"config", "quiet_start", "speech", "terminal", "training"},
    "cli_language_model": {"cli_training", "config", "speech", "terminal", "training"},
    "cli_choices": {"config"},
    "cli_learning_rate": {"cli_choices", "cli_training", "quiet_start", "terminal", "training"},
    "cli_listen": {"captions", "config", "predictor", "settings", "speech", "terminal"},
    "cli_synthesis": {
        "cli_training",
        "config",
        "quiet_start",
        "serving",
        "speech",
        "terminal",
        "training",
    },
    "cli_tuning": {"config", "predictor", "service_config", "speech", "terminal", "training"},
    "quiet_start": set(),
    "terminal": {"config"},
    "api": {"config", "predictor", "service", "service_config", "settings"},
    "cli_training": {"cli_choices", "config", "quiet_start", "speech", "terminal", "training"},
    "cli": OURS - {"cli"},
}
SOURCES = [
    path
    for pattern in (
        "*.py",
        "captions/**/*.py",
        "service/**/*.py",
        "speech/**/*.py",
        "serving/**/*.py",
        "training/**/*.py",
    )
    for path in sorted(ROOT.glob(pattern))
]


def imported(path: Path) -> set[str]:
    """Return the top names of all imports in a file, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_lies_left_of_it(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    top = module.partition(".")[0]
    allowed = MAY_IMPORT.get(module, MAY_IMPORT[top]) | {top}
    assert imported(path) & OURS <= allowed


@pytest.mark.parametrize("folder", ["captions", "speech", "service", "serving"])
def test_what_serves_never_imports_keras(folder: str) -> None:
    modules = ("api", "predictor", "recogniser", "service_config", "serving_config", "settings")
    files = [*ROOT.glob(f"{folder}/**/*.py"), *(ROOT / f"{name}.py" for name in modules)]
    assert not [str(path) for path in files if "keras" in imported(path)]


def test_packages_have_empty_init_files() -> None:
    files = [
        p
        for folder in ("captions", "service", "speech", "serving", "training")
        for p in ROOT.glob(f"{folder}/**/__init__.py")
    ]
    assert files
    assert not [str(path) for path in files if path.read_text(encoding="utf-8")]
