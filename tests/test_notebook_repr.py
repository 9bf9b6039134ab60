"""What a notebook shows of a scene, a model and a record: the facts, escaped, in the notebook's own colours."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_records import fake_record

from geoguide.backbones import BackboneConfig
from geoguide.experiments import records
from geoguide.experiments.presets import preset
from geoguide.model import GeoGuideModel
from geoguide.scene import Scene, View, facts_html
from geoguide.students.adapter import Adapter, AdapterConfig

NASTY = "</td><script>alert('x')</script>&\udcff"
SHOWN = "</td><script>alert('x')</script>&\\udcff"


class Cells(HTMLParser):
    """Caption and rows of a table, as a browser shows them; every tag that stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.parts: list[str] = []
        self.feed(text)
        cells = self.parts[self.parts.index("\0tr") :]
        texts = [part for part in "\n".join(cells).split("\0tr\n")[1:]]
        self.rows = dict(text.removeprefix("\0th\n").split("\n\0td\n", 1) for text in texts)
        self.rows = {name: value.strip("\n") for name, value in self.rows.items()}
        self.caption = "".join(part for part in self.parts[: self.parts.index("\0tr")] if part[0] != "\0")

    def handle_starttag(self, tag, attrs):
        assert not attrs  # neither colours nor links
        self.tags.add(tag)
        if tag in ("tr", "th", "td"):
            self.parts.append(f"\0{tag}")

    def handle_data(self, data):
        self.parts.append(data)


def cells(shown: object) -> Cells:
    text = shown._repr_html_()
    assert len(text) < 5000 and len(repr(shown)) < 300 and "\n" not in repr(shown)
    found = Cells(text)
    assert found.tags == {"table", "caption", "b", "tr", "th", "td"}
    text.encode()  # no letter that a notebook's file cannot hold
    return found


@pytest.fixture
def scene() -> Scene:
    points = np.float32([[0, 0, 0], [6, 0, 0], [0, 5, 2.7], [1, 1, 1]]) - np.float32([3, 0, 0])
    views = tuple(View(f"{i}", np.eye(3), np.eye(4) * i, (4, 4)) for i in range(3))
    labels, instances = np.array([0, 7, 7, 255]), np.array([-1, 0, 1, 2])
    return Scene(
        NASTY, points, np.zeros_like(points), labels=labels, instances=instances, views=views, as_read=(NASTY,)
    )


def test_a_scene(scene: Scene) -> None:
    shown = cells(scene)
    assert shown.caption == f"Scene {SHOWN}"
    assert shown.rows == {
        "points": "4",
        "source": "real",
        "bounding box": "6.00 × 5.00 × 2.70 m",
        "corner": "-3.00, 0.00, 0.00 m",
        "views": "3, 1 of them without a pose",
        "normals": "none",
        "labels": "2, on 75.0% of the points",
        "instances": "3, on 75.0% of the points",
        "as read": SHOWN,
    }
    assert repr(scene).endswith(": 4 points, 3 views, labels, instances)")
    plain = Scene("room", scene.points, scene.colors, faces=np.array([[0, 1, 2]]))
    assert cells(plain).rows.items() >= {"labels": "none", "instances": "none", "faces": "1", "views": "0"}.items()
    assert "as read" not in cells(plain).rows and repr(plain) == "Scene('room': 4 points, 0 views, faces)"


def test_a_model() -> None:
    torch.manual_seed(0)
    adapter = Adapter(15, 384, AdapterConfig(hidden=(8,)))
    model = GeoGuideModel(adapter, AdapterConfig(hidden=(8,)), BackboneConfig("descriptors"), "{}", NASTY, farthest=2.0)
    shown, numbers = cells(model), sum(tensor.numel() for tensor in adapter.state_dict().values())
    assert shown.caption == f"GeoGuideModel, trained on {SHOWN}"
    expected = {"backbone": "descriptors", "text encoder": "minilm", "adapter": "15 → 384", "device": "cpu"}
    expected |= {"weights": f"{4 * numbers / 1e6:.2f} MB, {numbers:,} numbers", "training scenes": "not in its file"}
    assert shown.rows.items() >= expected.items() and "evaluate" in shown.rows["metrics"]
    assert repr(model) == f"GeoGuideModel({NASTY!r}: descriptors, minilm)"


def test_a_record() -> None:
    record = fake_record(preset(seed=3).replace(name=NASTY), 41.234, validation=12.0)
    shown = cells(record)
    assert shown.caption == f"Record {SHOWN}" and shown.rows["id"] == record.id
    assert shown.rows["mIoU"] == "41.23 % on the test scenes, 12.00 % on the validation scenes"
    assert shown.rows["modules"] == "usd, imr, iirc" and shown.rows["seed"] == "3" and shown.rows["file"] == "none"
    assert re.fullmatch(r"Record\(\w+: .*, seed 3, mIoU 41\.2 % on mini-scannet\)", repr(record))


def test_a_committed_record_says_where_its_file_is() -> None:
    path = next((Path(__file__).resolve().parents[1] / "results" / "mini-scannet").glob("*.json"))
    record = records.read(path)
    assert record.file == path and cells(record).rows["file"] == str(path)
    assert record == records.Record.of(record.raw)  # where it lies is no part of what it says


def test_every_text_is_escaped() -> None:
    text = facts_html("<i>", "<b>", {"<th>": "<td>", "left out": None, "kept": 0})
    assert text.count("<") == 18 and "left out" not in text and "<td>0</td>" in text
