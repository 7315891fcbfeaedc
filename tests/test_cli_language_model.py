"""`stt lm build` as a user runs it."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from typer.testing import CliRunner

import cli
from config import AudioConfig, DecodingConfig
from speech.alphabet import BLANK, Alphabet
from speech.decoding.beam import BeamDecoder, symbol_names
from speech.decoding.decoder import LANGUAGE_MODEL, WORD_MODEL, Decoder
from speech.pipeline import Pipeline, read_pipeline, write_pipeline
from training import language_model
from training.manifest import Split, Utterance, write_manifest
from training.presets import PRESETS

TEXTS = [
    f"the {a} {b} the {c}" for a in ("cat", "dog") for b in ("saw", "ate") for c in ("hen", "ox")
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs `stt lm` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, ["lm", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Return a text file of eight sentences, and one with a number."""
    path = tmp_path / "book.txt"
    path.write_text("\n".join([*TEXTS, "in 1812"]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a folder with a manifest: a text to learn, one of the book's to validate and test."""
    splits = {"a cow": Split.train, TEXTS[0]: Split.validation, TEXTS[1]: Split.test}
    utterances = [
        Utterance(
            id=f"c/{i}", corpus="c", speaker="s", audio="a.wav", text=t, num_samples=1, split=split
        )
        for i, (t, split) in enumerate(splits.items())
    ]
    write_manifest(tmp_path / "data" / "manifest.jsonl", utterances)
    return tmp_path / "data"


def ngrams(path: Path) -> set[str]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return {line.split("\t")[1] for line in text.splitlines() if "\t" in line}


def test_help_answers_with_an_example(run) -> None:
    result = run("build", "--help")
    assert result.exit_code == 0
    assert "stt lm build " in result.output


def test_a_text_file_becomes_a_character_model_that_kenlm_loads(run, book: Path) -> None:
    result = run("build", book, "--output", "lm/characters.arpa.gz")
    assert result.exit_code == 0, result.output
    assert "8 sentences; left out: 0 held out, 1 with characters that the alphabet" in result.stdout
    assert "n-grams of length 1 to 6" in result.stdout
    assert re.search(
        r"characters\.arpa\.gz: 0\.\d+ MB, \d+\.\d s, peak memory \d+ MB", result.stdout
    )
    assert "perplexity" not in result.stdout
    assert {"t h e <space> c a", "<s> t h e <space> d"} <= ngrams(Path("lm/characters.arpa.gz"))
    KenLM("lm/characters.arpa.gz", Dictionary(symbol_names(Alphabet())))


def test_held_out_texts_are_not_learnt_wherever_they_stand(run, book: Path, manifest: Path) -> None:
    result = run("build", book, "--manifest", manifest, "--output", "w.arpa", "--words")
    assert "7 sentences; left out: 2 held out, 1 with" in result.stdout
    assert "n-grams of length 1 to 3" in result.stdout
    assert "a cow </s>" in ngrams(Path("w.arpa"))
    assert "the cat ate" in ngrams(Path("w.arpa"))
    assert "cat saw" not in ngrams(Path("w.arpa"))
    found = re.search(
        r"of 1 validation texts: (\S+) per character, (\S+) per word; (\d+)", result.stdout
    )
    assert found
    per_character, per_word, unknown = (float(number) for number in found.groups())
    characters, words = len(TEXTS[0]) + 1, len(TEXTS[0].split()) + 1
    assert per_word == pytest.approx(per_character ** (characters / words), rel=0.05)
    assert unknown == 0


def test_an_excluded_manifest_is_not_learnt_from(run, book: Path, manifest: Path) -> None:
    result = run("build", book, "--exclude-manifest", manifest, "--output", "w.arpa", "--words")
    assert "6 sentences; left out: 2 held out, 1 with" in result.stdout
    assert "perplexity of 1 validation texts" in result.stdout
    assert "cow" not in ngrams(Path("w.arpa"))


def test_a_manifest_alone_and_its_alphabet(run, manifest: Path) -> None:
    (manifest / "alphabet.txt").write_text(f"{BLANK}\n \na\nc\no\nw\n", encoding="utf-8")
    result = run("build", "--manifest", manifest, "--output", "c.arpa", "--order", "2")
    assert "1 sentences; left out: 0 held out, 0 with" in result.stdout
    assert {"<space> c", "w </s>"} <= ngrams(Path("c.arpa"))


def test_pruning_leaves_out_what_is_rare(run, book: Path) -> None:
    run("build", book, "--output", "all.arpa", "--words", "--order", "2")
    run("build", book, "--output", "few.arpa", "--words", "--order", "2", "--prune", "0,2")
    left_out = ngrams(Path("all.arpa")) - ngrams(Path("few.arpa"))
    assert left_out == {f"{a} {b}" for a in ("cat", "dog") for b in ("saw", "ate")}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a model whose alphabet has digits."""
    pipeline = Pipeline(
        name="mine",
        audio=AudioConfig(),
        features=PRESETS["small"].features,
        network=PRESETS["small"].network,
        alphabet=Alphabet((*Alphabet().symbols, *"0123456789")),
    )
    write_pipeline(tmp_path / "mine", pipeline)
    return tmp_path / "mine"


def test_a_model_gives_alphabet_and_place(run, book: Path, model: Path) -> None:
    result = run("build", book, "--model", "mine")
    assert "9 sentences; left out: 0 held out, 0 with" in result.stdout
    assert "1 8 1 2 </s>" in ngrams(model / LANGUAGE_MODEL)
    Decoder.of_model(model, read_pipeline(model).alphabet)


def test_words_have_a_place_in_a_model_too(run, book: Path, model: Path) -> None:
    assert run("build", book, "--model", "mine").exit_code == 0
    result = run("build", book, "--model", "mine", "--words")
    assert result.exit_code == 0, result.output
    assert "in 1812 </s>" in ngrams(model / WORD_MODEL)
    assert "1 8 1 2 </s>" in ngrams(model / LANGUAGE_MODEL)
    Decoder.of_model(model, read_pipeline(model).alphabet)


@pytest.mark.parametrize(
    "break_it", [lambda text: text[: len(text) // 2], lambda text: b"\x00\xff"]
)
def test_what_kenlm_refuses_leaves_the_old_file(run, book: Path, monkeypatch, break_it) -> None:
    write = language_model.write_arpa

    def write_broken(path: Path, model: language_model.LanguageModel) -> None:
        write(path, model)
        path.write_bytes(break_it(path.read_bytes()))

    assert run("build", book, "--output", "lm/c.arpa").exit_code == 0
    before = Path("lm/c.arpa").read_bytes()
    monkeypatch.setattr(language_model, "write_arpa", write_broken)
    result = run("build", book, "--output", "lm/c.arpa", "--order", "3")
    assert result.exit_code == 5
    (error,) = filter(None, result.stderr.splitlines())
    assert error.startswith("error: lm/c.arpa is not written: cannot load the language model")
    assert ".made-" not in result.stderr
    assert Path("lm/c.arpa").read_bytes() == before
    assert list(Path("lm").iterdir()) == [Path("lm/c.arpa")]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("the cat\nthe dog\n", ["--prune", "0,0,0,9"], "no n-grams of length 4 are left; needed"),
        ("the cat\nthe dog\n", ["--prune", "0,9", "--words"], "no n-grams of length 2 are left"),
        ("a b\n", [], "no n-grams of length 6 are left; needed: a lower --prune, a lower --order"),
        ("abcdefg\nhijklmn\n", [], "got no sentence of several words, but an alphabet with a"),
    ],
)
def test_a_model_that_no_decoder_can_use_is_refused(
    run, text: str, options: list[str], message: str
) -> None:
    Path("text.txt").write_text(text, encoding="utf-8")
    Path("x.arpa").write_text("old", encoding="utf-8")
    result = run("build", "text.txt", "--output", "x.arpa", *options)
    assert result.exit_code == 4
    assert message in result.stderr
    assert Path("x.arpa").read_text(encoding="utf-8") == "old"


def test_an_alphabet_without_a_space_needs_none_in_the_texts(run) -> None:
    symbols = (BLANK, *"abcdefghijklmn")
    Path("alphabet.txt").write_text(Alphabet(symbols).to_lines(), encoding="utf-8")
    Path("text.txt").write_text("abcdefg\nhijklmn\nab cd\n", encoding="utf-8")
    words = ["--output", "x.arpa", "--alphabet", "alphabet.txt"]
    result = run("build", "text.txt", *words)
    assert result.exit_code == 0, result.output
    assert "2 sentences; left out: 0 held out, 1 with characters" in result.stdout
    log_probs = np.log(np.full((4, len(symbols)), 1 / len(symbols), np.float32))
    decoder = BeamDecoder(Alphabet(symbols), DecodingConfig(), Path("x.arpa"))
    assert decoder.decode(log_probs)[0].text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["book.txt"], 2, "got neither --output nor --model"),
        (
            ["book.txt", "--output", "x.bin"],
            2,
            "needed: a file whose name ends in .arpa or .arpa.gz",
        ),
        (["book.txt", "--output", "x.arpa", "--prune", "0,x"], 2, "needed: whole numbers"),
        (["book.txt", "--output", "x.arpa", "--prune", "1"], 2, "needed: an order of at least 1"),
        (["book.txt", "--output", "x.arpa", "--order", "7"], 2, "less than or equal to 6"),
        (["--output", "x.arpa"], 4, "got no text; needed"),
        (["missing.txt", "--output", "x.arpa"], 4, "cannot read missing.txt"),
        (["empty.txt", "--output", "x.arpa"], 4, "got no text; needed"),
        (
            ["book.txt", "--output", "x.arpa", "--manifest", "nowhere"],
            4,
            "cannot read the manifest",
        ),
        (["book.txt", "--model", "a", "--alphabet", "b"], 2, "got --alphabet and --model"),
        (["book.txt", "--model", "nowhere"], 5, "no usable model in nowhere"),
        (
            ["book.txt", "--output", "x.arpa", "--alphabet", "nowhere"],
            5,
            "cannot read the alphabet",
        ),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    run, book: Path, words: list[str], code: int, message: str
) -> None:
    Path("empty.txt").write_text("\n-\n", encoding="utf-8")
    result = run("build", *words)
    assert result.exit_code == code
    assert message in result.stderr
    assert not Path("x.arpa").exists()
