"""The page: well formed, whole by itself, safe whatever texts say, and readable without sight."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from tests.analysed import heard
from tests.clips import babble
from training.analysis import analyse
from training.analysis_clip import Clip
from training.analysis_noise import NoiseCurve, NoiseLevel
from training.analysis_report import Origin, figures_of, write_report
from training.analysis_statistics import rate
from training.analysis_words import align_words
from training.analysis_worst import WorstConfig, encode_mp3, show_alignment, worst

VOID = {"meta", "link", "img", "br", "source", "input", "hr"}
RATE_HZ = 22_050
ORIGIN = Origin(model="tiny", source="mine, test", decoder="best path", date="2026-01-02 03:04")
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> $x^2$ &amp; {0} ${title}'


class Page(HTMLParser):
    """Elements with their attributes and all text; what is not closed in order is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def curve() -> NoiseCurve:
    level = NoiseLevel(
        snr_db=None, wer=rate([1] * 6, [4] * 6), cer=rate([1] * 6, [9] * 6), increase=None
    )
    return NoiseCurve(clips=6, levels=(level, replace(level, snr_db=0.0)))


def many_clips() -> list[Clip]:
    draw, words = np.random.default_rng(5), ["one", "two", "three", "four", "zebra"]
    clips = []
    for i in range(80):
        reference = " ".join(draw.choice(words, 6))
        hypothesis = reference.replace("zebra", "deb").replace("four", "for" if i % 3 else "four")
        clips.append(
            heard(
                reference,
                hypothesis,
                name=str(i),
                corpus=f"c{i % 2}",
                speaker=f"c{i % 2}/s{i % 30}",
                duration_s=1.0 + i / 8,
                snr_db=float(i % 45),
            )
        )
    return clips


def written(folder: Path, clips: list[Clip], **settings: object) -> tuple[Page, dict]:
    analysis = analyse(clips, known_words=frozenset({"one", "two"}), noise=curve())
    paths = write_report(
        folder / "report.html",
        analysis,
        ORIGIN,
        read=lambda clip: babble(clip.duration_s, seed=1),
        sample_rate_hz=RATE_HZ,
        config=WorstConfig(**{"clips": 3, **settings}),
    )
    assert paths == [folder / "report.html", folder / "report.json"]
    page, figures = (path.read_text(encoding="utf-8") for path in paths)
    return Page(page), json.loads(figures)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, dict]:
    return written(tmp_path_factory.mktemp("report"), many_clips())


def test_the_page_needs_nothing_from_elsewhere(report: tuple[Page, dict]) -> None:
    page, _ = report
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "link")]
    policies = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policies[0].startswith("default-src 'none'")
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_every_chapter_is_in_the_contents(report: tuple[Page, dict]) -> None:
    page, _ = report
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a")}
    assert targets <= set(ids)
    sections = [section["id"] for section in page.all("section")]
    assert len(sections) == 12
    assert set(sections) <= targets


def test_the_page_can_be_read_without_sight(report: tuple[Page, dict]) -> None:
    page, _ = report
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("img")
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(heading["scope"] in ("col", "row") for heading in page.all("th"))
    assert all(player["aria-label"] for player in page.all("audio"))
    named = [s["aria-labelledby"] for s in page.all("section")]
    assert set(named) <= {h["id"] for h in page.all("h2")}
    assert any("width=device-width" in m.get("content", "") for m in page.all("meta"))


def test_pictures_come_in_light_and_dark(report: tuple[Page, dict]) -> None:
    page, _ = report
    lights = [image["src"] for image in page.all("img")]
    darks = [source["srcset"] for source in page.all("source")]
    assert len(lights) == len(darks) == 8
    for light, dark in zip(lights, darks, strict=True):
        assert light != dark
        for address in (light, dark):
            svg = ElementTree.fromstring(base64.b64decode(address.partition("base64,")[2]))
            assert svg.tag.endswith("svg")


def test_players_hold_the_worst_clips(report: tuple[Page, dict]) -> None:
    page, _ = report
    clips = worst(many_clips(), 3)
    players = page.all("audio")
    assert [player["aria-label"] for player in players] == [f"Clip {clip.id}" for clip in clips]
    for player, clip in zip(players, clips, strict=True):
        media_type, _, content = player["src"].partition(";base64,")
        assert media_type == "data:audio/mpeg"
        sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert len(sound) / rate_hz == pytest.approx(clip.duration_s, abs=0.15)


def test_the_figures_are_those_of_the_page(report: tuple[Page, dict]) -> None:
    page, figures = report
    clips = many_clips()
    mistakes, words = sum(clip.word_errors for clip in clips), sum(clip.words for clip in clips)
    assert figures["total"]["wer"]["errors"] == mistakes
    assert figures["total"]["wer"]["value"] == pytest.approx(mistakes / words)
    assert figures["total"]["wer"]["low"] < mistakes / words < figures["total"]["wer"]["high"]
    assert (figures["kind"], figures["format"], figures["model"]) == ("stt analysis", 1, "tiny")
    assert len(figures["clips"]) == 80
    assert figures["vocabulary"]["outside"]["count"] > figures["vocabulary"]["outside"]["errors"]
    assert any(finding["chapter"] == "vocabulary" for finding in figures["findings"])
    for finding in figures["findings"]:
        assert " ".join(finding["text"].split()) in page.text
    assert f"{100 * mistakes / words:.0f}\u202f%" in page.texts


def test_texts_and_names_are_never_markup(tmp_path: Path) -> None:
    clips = [
        heard(HOSTILE, "words", name=HOSTILE, corpus=f"{i}{HOSTILE}", speaker=f"{i}/{HOSTILE}")
        for i in range(2)
    ]
    page, figures = written(tmp_path, clips)
    assert not page.all("script")
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/svg+xml") for image in page.all("img"))
    assert HOSTILE in page.text
    assert figures["clips"][0]["reference"] == HOSTILE


def test_one_clip_without_speaker_noise_or_words(tmp_path: Path) -> None:
    page, figures = written(tmp_path, [heard("a b", "", snr_db=None)])
    assert "The manifest knows no speakers." in page.text
    assert "No word was written" in page.text
    assert "too few clips" in page.text
    assert "Understood: nothing" in page.text
    assert "Nothing stands out" in page.text
    assert figures["calibration"] is None
    assert figures["total"]["wer"]["low"] is None
    assert figures["findings"] == []


def test_nothing_wrong_is_said_so(tmp_path: Path) -> None:
    page, _ = written(tmp_path, [heard("one two", "one two", name=str(i)) for i in range(12)])
    for sentence in ("No clip has an error.", "No word is wrong.", "No character is wrong."):
        assert sentence in page.text
    assert not page.all("audio")


@pytest.mark.parametrize(
    ("count", "alike", "sentence"),
    [
        (39, False, "Too few clips to part: 39; it takes 40."),
        (40, True, "All clips are alike in this: 2 chars/s and over."),
        (40, False, "Error rates by speaking rate"),
    ],
)
def test_few_clips_are_not_called_alike(
    tmp_path: Path, count: int, alike: bool, sentence: str
) -> None:
    clips = [
        heard("abcd", "abcd", name=str(i), duration_s=2.0 if alike else 1.0 + i / 10)
        for i in range(count)
    ]
    page, _ = written(tmp_path, clips)
    assert sentence in page.text
    assert "alike in this: any" not in page.text


def test_one_error_is_in_the_singular(tmp_path: Path) -> None:
    page, _ = written(tmp_path, [heard("one two three", "one three", name="1")])
    text = page.text.replace("\xa0", " ")
    assert "0 substitutions (S), 1 deletion (D) and 0 insertions (I)" in text
    assert not re.search(r"\b1 \w+s\b", text)


def test_speakers_of_very_few_clips_are_folded(tmp_path: Path) -> None:
    often = [heard("a b", "a c", speaker=f"x/often{i % 2}", name=str(i)) for i in range(12)]
    once = [heard("a b", "c d", speaker=f"x/once{i}", name=f"o{i}") for i in range(8)]
    page, figures = written(tmp_path, [*often, *once])
    assert "8 more" in page.text
    assert len(figures["by_speaker"]) == 10
    shown, hidden = page.text.index("x/often1"), page.text.index("x/once0")
    assert shown < page.text.index("8 more") < hidden


def test_a_page_holds_no_more_sound_than_it_may(tmp_path: Path) -> None:
    clips = [heard("one two", "six", name=str(i), duration_s=4.0) for i in range(3)]
    one = len(encode_mp3(babble(4.0, seed=1), sample_rate_hz=RATE_HZ))
    page, _ = written(tmp_path, clips, max_audio_bytes=int(1.5 * one))
    assert len(page.all("audio")) == 1
    assert page.text.count("Not in this page") == 2
    with pytest.raises(ValueError, match="needed"):
        WorstConfig(clips=-1)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 20_000, 96_000])
def test_sound_is_small_and_no_longer_than_half_a_minute(rate_hz: int) -> None:
    sound = encode_mp3(babble(40.0, rate_hz=rate_hz), sample_rate_hz=rate_hz)
    decoded, got_hz = soundfile.read(io.BytesIO(sound))
    assert len(decoded) / got_hz == pytest.approx(30.0, abs=0.2)
    assert len(sound) < 30 * 8_000


def test_errors_are_shown_by_sign_and_read_out() -> None:
    html = show_alignment(align_words("the cat sat down here", "a cat down here by"))
    assert "“the” heard as “a”; “sat” left out; “by” added." in html
    assert "3\u00a0errors" in html
    signs = re.findall(r'<span class="(\w+)">.*?<b>(.?)</b>', html)
    assert signs == [
        ("substitution", "≠"),
        ("equal", ""),
        ("deletion", "−"),
        ("equal", ""),
        ("equal", ""),
        ("insertion", "+"),
    ]


def test_the_worst_are_those_with_most_errors_a_word() -> None:
    clips = [
        heard("a b c d", "x b c d", name="quarter"),
        heard("a b", "x y", name="both of two"),
        heard("a b c", "x y z", name="all three"),
        heard("a", "a", name="right"),
    ]
    names = [clip.id for clip in worst(clips, 9)]
    assert names == ["x/all three", "x/both of two", "x/quarter"]


def test_another_report_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"clips": 3}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"is no analysis; needed: another --output"):
        figures_of(tmp_path / "report.html")
    written(tmp_path / "new", [heard("a", "b")])
    assert figures_of(tmp_path / "new/report.html") == tmp_path / "new/report.json"
