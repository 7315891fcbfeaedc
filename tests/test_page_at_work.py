"""The page in a real browser, when much is given, when something fails, when it is played."""
# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.browsing import Browser, running_service
from tests.test_page_in_browser import (  # noqa: F401
    REFUSED,
    SAMPLE,
    SAMPLES,
    address,
    broken,
    browser,
    microphone,
    packages,
)

PHONE = {"viewport": {"width": 375, "height": 700}}
LETTER = str(SAMPLES["letter.wav"])
# What a browser writes when a server behind another port goes away under it.
AWAY = r"(asked http|^ws)://127\.0\.0\.1|ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket|worklet"
AWAY += "|ScriptProcessorNode"


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Half a minute that can be played."""
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    samples = 2_000 * np.random.default_rng(1).normal(size=30 * 8_000)
    soundfile.write(path, samples.astype("int16"), 8_000)
    return str(path)


def test_a_long_text_has_paragraphs_and_the_page_ends_with_it(browser: Browser, noise: str) -> None:
    shown = browser("longText", file=noise)
    assert shown["emptyPx"] == 0
    assert "11\u202f247 words" in shown["facts"]
    assert shown["when"] == ["0:00", "0:50", "1:44", "2:44"], "at each breath, or after a minute"
    assert 75 <= shown["paragraphs"] <= 100
    assert shown["named"] == 1, "no space before the comma"


def test_keys_on_the_waveform_move_by_seconds(browser: Browser, noise: str) -> None:
    assert browser("waveformKeys", file=noise) == [10, 11, 16, 15, 10, 0]


def test_nothing_is_played_into_the_microphone(browser: Browser, noise: str) -> None:
    assert browser("recordingPauses", file=noise) == {
        "Record": [True, True],
        "Live captions": [True, True],
    }


def test_other_colours_do_not_stop_what_is_played(browser: Browser, noise: str) -> None:
    assert browser("colourWhilePlaying", file=noise) >= 8, "from the same place"


def test_a_click_on_a_word_goes_there_and_enter_plays(browser: Browser, noise: str) -> None:
    shown = browser("wordPressed", file=noise)
    assert shown["clicked"] == {"atS": 4, "paused": True}
    assert not shown["entered"]["paused"]
    assert not shown["clickedPlaying"]["paused"]
    assert 16 <= shown["clickedPlaying"]["atS"] < 20


def test_words_are_followed_until_they_are_scrolled_away(browser: Browser, noise: str) -> None:
    shown = browser("scrolledAway", file=noise)
    assert shown["sought"]["sees"], "where a person goes is in sight"
    assert shown["away"] == {"top": 0, "sees": False}
    assert shown["back"]["sees"]
    assert shown["back"]["top"] > shown["sought"]["top"]


def test_a_place_far_away_is_in_sight(browser: Browser, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(120 * 8_000, "int16"), 8_000)
    assert browser("soughtFarAway", file=str(long)) == [True, True, True]


def test_what_was_recorded_is_shown(browser: Browser) -> None:
    assert browser("recordedIsShown", file=LETTER).startswith("Recording ")


def test_a_later_file_is_shown_unless_another_is_played_or_opened(
    browser: Browser, noise: str
) -> None:
    names = ["sample.wav", "letter.wav", "canoe.wav", "harbour.wav"]
    files = [str(SAMPLES[name]) for name in names]
    shown = browser("takesItsPlace", files=[*files, noise])
    assert shown == ["sample.wav", "letter.wav", "letter.wav", "sample.wav", "sample.wav"]


def test_a_neighbour_is_shown_when_what_was_shown_is_removed(browser: Browser, broken: str) -> None:
    files = [str(SAMPLES[name]) for name in ("sample.wav", "letter.wav", "canoe.wav")]
    shown = browser("removedShown", files=files, broken=broken, expected=REFUSED)
    assert shown["count"] == "3 done · 1 failed"
    assert shown["found"] == [["canoe.wav"] * 2, ["sample.wav"] * 2, ["", ""]]
    assert shown["empty"]


def test_a_recording_that_is_removed_comes_back(browser: Browser) -> None:
    shown = browser("removedRecording", file=LETTER)
    assert shown["said"] == "A recording that was not saved is removed."
    assert shown["left"] == ["letter.wav"]
    assert shown["again"], "at its old place"
    assert shown["shown"].startswith("Recording ")
    assert not shown["notice"]
    assert not shown["noticeOfFile"]


def test_a_recording_that_is_discarded_comes_back(browser: Browser) -> None:
    assert browser("discardedRecording") == {"items": 0}


def test_an_error_at_the_end_of_the_list_is_in_sight(browser: Browser, broken: str) -> None:
    files = [str(path) for path in SAMPLES.values()]
    assert browser("errorAtTheEnd", files=files, broken=broken, expected=REFUSED) <= 0


def test_an_empty_file_is_never_sent(browser: Browser, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    shown = browser("emptyAgain", empty=str(empty))
    assert shown["asked"] == 0
    assert shown["error"].startswith("This file is empty.")


def test_what_takes_long_says_for_how_long(browser: Browser) -> None:
    shown = browser("takesLong", file=LETTER)
    assert shown["atFirst"] == "Transcribing"
    assert shown["later"].startswith("Transcribing, 0:0")


def test_captions_that_are_cut_off_keep_sound_and_words(browser: Browser) -> None:
    shown = browser("cutOff", expected=AWAY)
    lost = "The connection to the server was lost. What was heard until then is kept."
    assert shown["problem"] == lost
    assert shown["partial"].startswith("the old house")
    assert "old house" in shown["again"]
    later = browser("cutOffLater")
    assert later == {"problem": lost, "text": "once upon a time"}
    assert browser("cutOffEarly") == "yes", "the sound is sent as a recording"


def test_captions_that_the_server_ends_say_why(browser: Browser) -> None:
    full = {"code": "too_many_sessions", "message": "8 sessions run; needed: under that many"}
    words = {"code": "invalid_message", "message": "hot word '*'"}
    shown = browser("captionsRefused", errors=[full, words])
    assert shown[0].startswith("The server makes captions for as many as it can.")
    assert "words to listen for. The server says: hot word '*'." in shown[1]


def test_captions_are_followed_until_they_are_scrolled_away(browser: Browser) -> None:
    shown = browser("captionsScrolled")
    assert (shown["following"], shown["away"], shown["back"]) == (0, 0, 0)
    assert 0 <= shown["emptyPx"] < 60, "the card goes down to the edge"


def test_on_a_phone_what_captions_heard_is_in_sight(browser: Browser) -> None:
    assert 0 <= browser("captionsOnPhone", options=PHONE) < 200


def test_a_file_that_is_dropped_on_captions_is_told_of(browser: Browser) -> None:
    said = browser("dropInCaptions", expected=REFUSED)
    assert said == "The captions go on; notes.wav will be in the list after them."


def test_a_recording_that_had_not_begun_is_told_of(browser: Browser) -> None:
    assert browser("stoppedTooSoon").startswith("Nothing was recorded")


def test_the_lamp_goes_out_with_the_server_and_comes_back(browser: Browser) -> None:
    assert browser("serverDies", file=LETTER, expected=AWAY) == "No answer"


def test_the_microphone_is_recorded_without_the_server(browser: Browser) -> None:
    shown = browser("recordedWithoutServer", expected=AWAY)
    assert shown["error"].startswith("The server did not answer.")
    assert "old house" in shown["text"]


def test_a_file_that_cannot_be_read_is_told_from_a_server_that_is_away(
    browser: Browser, tmp_path: Path
) -> None:
    folder, file = tmp_path / "recordings", tmp_path / "sample.wav"
    folder.mkdir()
    file.write_bytes(Path(SAMPLE).read_bytes())
    os.utime(file, (1e9, 1e9))  # browsers see no change within one second
    given = {"file": str(file), "folder": str(folder)}
    shown = browser("unreadable", **given, expected="ERR_UPLOAD_FILE_CHANGED|ERR_ACCESS_DENIED")
    said = "The browser cannot read this file any more; choose it again. Folders cannot be sent."
    assert shown == {"changed": said, "folder": said}


def test_a_page_in_place_of_an_answer_is_an_error_like_others(browser: Browser) -> None:
    shown = browser("loginPage", file=SAMPLE, other=LETTER)
    assert shown["error"].startswith("Something else answered in place of the speech server.")
    assert shown["text"]


def test_a_refusal_says_what_it_is_about(browser: Browser) -> None:
    answers = [
        {"status": status, "error": {"message": "no", "param": param}}
        for status, param in [(403, None), (400, None), (400, "hotwords"), (400, "file")]
    ]
    shown = browser("refusals", file=SAMPLE, answers=answers, expected=REFUSED)
    assert [said.split(".")[0] for said in shown] == [
        "The server does not take requests from this page's address",
        "The server did not take the request",
        "The server did not accept the options",
        "The server cannot read this as audio",
    ]
    assert "Look at decoder, beam width and words to listen for." in shown[2]


def test_no_more_words_to_listen_for_are_sent_than_the_server_takes(browser: Browser) -> None:
    words = [f"kestrel{'abcdefghij'[index % 10] * (1 + index // 10)}" for index in range(300)]
    shown = browser("manyHotwords", file=LETTER, hotwords=words)
    assert shown["long"].endswith("is left out.")
    assert shown["many"].endswith("and 199 more are left out.")
    assert (shown["sent"], shown["after"]) == (100, "")


def test_after_a_right_key_the_page_is_as_before(browser: Browser, tmp_path: Path) -> None:
    key = "a-key-of-a-person"
    with running_service(tmp_path, STT_API_KEYS=key) as guarded:
        given = {"url": f"{guarded}/app/", "state": "away", "expected": f"{REFUSED}|WebSocket"}
        assert browser("keyAfterProblem", file=LETTER, key=key, **given) == ["choose", ""]


def test_the_colours_of_the_system_tell_the_same(browser: Browser) -> None:
    shown = browser("forcedColours", file=LETTER, options={"forcedColors": "active"})
    lines = {"doubt": "dotted", "sure": "none"}
    assert shown == {**lines, "lit": True, "lamp": True, "level": True}


def test_a_phone_has_buttons_for_fingers_and_the_way_to_the_api(browser: Browser) -> None:
    shown = browser("phone", file=LETTER, options=PHONE)
    assert shown == {"leastPx": 44, "link": True, "name": "english-small"}


def test_a_word_is_lit_at_once_and_the_whole_page_takes_files(browser: Browser) -> None:
    assert browser("atOnce", file=LETTER) == {"fading": "0s", "covers": True}
