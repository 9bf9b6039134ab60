"""Each packaged network has a card that says what a card must say, and the book lists them all."""

import json
import re
from pathlib import Path

import pytest

from geoguide.paths import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
SCORES = {  # lines of a card's table of 2D scores: what the record beside the weights calls them
    "accuracy of pixels of seen names, among seen names": "accuracy",
    "seen names, among seen names": "seen",
    "the same by synonyms": "seen_by_synonyms",
    "seen names, among all names": "seen_among_all",
    "unseen names, among unseen names": "unseen_among_unseen",
    "unseen names, among all names": "unseen_among_all",
}
NAMES = sorted({path.stem for path in WEIGHTS.glob("*.safetensors")} | {path.stem for path in WEIGHTS.glob("*.json")})


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_it_must(name: str) -> None:
    text = (WEIGHTS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    rows = dict(re.findall(r"^\| ([a-z ,]+) \| (.+) \|$", text, re.MULTILINE))
    assert {"file", "licence", "intended use"} <= set(rows) and rows["licence"].startswith("MIT")
    assert re.search(r"^(## Limits|Limits: )", text, re.MULTILINE)
    assert re.search(r"^    geoguide (pretrain|train) ", text, re.MULTILINE)  # how it is made again
    assert re.search(r"(?i)generat|held-out worlds|rooms, losses and seed are", text)  # of what data
    for other in set(re.findall(r"`([\w-]+\.(?:safetensors|json|md))`", text)):
        known = (WEIGHTS / other, ROOT / "results" / other, ROOT / "results" / "backbones" / other)
        assert any(path.is_file() for path in known), other


@pytest.mark.parametrize("name", ["lseg-mini", "openseg-mini", "sas-mini", "lseg-streets-mini"])
def test_a_card_of_a_2d_model_has_the_scores_of_its_record(name: str) -> None:
    text, scores = (WEIGHTS / f"{name}.md").read_text(), json.loads((WEIGHTS / f"{name}.json").read_text())["scores"]
    said = {
        line: cells for line, *cells in re.findall(r"^\| ([a-z ,]+) \| ?([\d.]*) \| ?([\d.]*) \|$", text, re.MULTILINE)
    }
    for line, score in SCORES.items():
        found = [scores[place][score] for place in ("training_look", "benchmark_look")]
        assert said[line] == ["" if value is None else f"{value:.1f}" for value in found], line


def test_there_is_a_card_for_each_network_and_the_book_lists_it() -> None:
    assert {path.stem for path in WEIGHTS.glob("*.md")} == set(NAMES)
    page = (ROOT / "book" / "pretrained.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == set(NAMES)
