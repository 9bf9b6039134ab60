"""`geoguide segment` from the inside: prepared as training scenes are, and nothing done that nobody asked for."""

import colorsys
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields as repack
from plyfile import PlyData, PlyElement

import geoguide
from geoguide import own_scan
from geoguide.cli import main
from geoguide.datasets.formats import ply
from geoguide.datasets.points import load_points
from geoguide.errors import DataError, InputError
from geoguide.model import GeoGuideModel
from geoguide.own_scan import labelled
from geoguide.own_scan.scan import palette
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare, scene_sources
from geoguide.pipeline.stages import frozen_features
from geoguide.scene import Scene
from geoguide.students.adapter import Adapter, AdapterConfig

LABELS = ("wall", "floor", "chair")


@pytest.fixture
def mesh(tiny: ExperimentConfig) -> Path:
    """The mesh of a generated room, as a user has it."""
    source = scene_sources(tiny.data, "test")[0]
    return source.path / f"{source.name}_vh_clean_2.ply"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_a_mesh_is_prepared_as_a_training_scene_is(tiny: ExperimentConfig, mesh: Path, tmp_path: Path) -> None:
    """Faces decide superpoints, and with them descriptors: the same as those that an adapter was trained on."""
    config = tiny.replace(backbone__name="descriptors")
    room = scene_sources(tiny.data, "test")[0].load()
    prepared = prepare(room, config, tmp_path)
    scan = own_scan.open_scan(mesh)
    np.testing.assert_array_equal(scan.scene.faces, room.faces)
    found = frozen_features(scan.scene, config.backbone).astype(np.float16)
    np.testing.assert_array_equal(found, np.asarray(prepared.geometry))
    adapter = Adapter(found.shape[1], 384, AdapterConfig())
    model = GeoGuideModel(adapter, AdapterConfig(), config.backbone, "a photo of a {}", "untrained")
    result = own_scan.segment_scan(scan, model, LABELS, masks=True)
    np.testing.assert_array_equal(result.superpoints, prepared.superpoints)
    assert result.summary["instance_masks"] == len(prepared.masks)
    held = prepared.masks.dense()[result.instances, np.arange(len(room))]
    assert held[result.instances >= 0].all() and (result.instances >= 0).any()


def test_superpoints_and_masks_only_when_asked_for(mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scene_superpoints", "scene_masks"):
        monkeypatch.setattr(f"geoguide.pipeline.stages.{name}", lambda *given: pytest.fail("computed for nothing"))
    scan = own_scan.open_scan(mesh)
    result = own_scan.segment_scan(scan, geoguide.load("mini"), LABELS)
    assert result.superpoints is None and not {"superpoints", "instance_masks"} & set(result.summary)
    path = tmp_path / "out.ply"
    own_scan.write_labelled(path, result)
    written = PlyData.read(str(path))
    assert {p.name for p in written["vertex"].properties} == set("xyz") | {"red", "green", "blue", "label", "score"}
    np.testing.assert_array_equal(np.stack(written["face"]["vertex_indices"]), scan.scene.faces)
    again = load_points(path)
    np.testing.assert_array_equal(again.points, scan.scene.points)


def test_the_summary_counts_as_a_slow_loop(mesh: Path) -> None:
    scan = own_scan.open_scan(mesh)
    result = own_scan.segment_scan(scan, geoguide.load("mini"), (*LABELS, "submarine"))
    rows = result.summary["labels"]
    assert [*rows] == [*LABELS, "submarine"]
    for number, row in enumerate(rows.values()):
        chosen = result.scores[result.ids == number].astype(np.float64)
        assert row["points"] == len(chosen) and row["share"] == round(len(chosen) / len(scan.scene), 4)
        assert row["mean_cosine"] == (pytest.approx(chosen.mean(), abs=6e-5) if len(chosen) else None)


def test_masks_are_two_more_columns(mesh: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ply"
    assert run("segment", str(mesh), "--labels", ", ".join(LABELS), "--masks", "--out", str(out)) == 0
    vertex, summary = PlyData.read(str(out))["vertex"], json.loads(out.with_suffix(".json").read_text())
    assert len(np.unique(vertex["superpoint"])) == summary["superpoints"]
    assert vertex["instance"].min() >= -1 and vertex["instance"].max() < summary["instance_masks"]


@pytest.mark.parametrize("decoding", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_labels_beyond_ascii(tmp_path: Path, rng: np.random.Generator, decoding: dict[str, str]) -> None:
    """In the ply's comments as ASCII that can be read back, in the JSON as they are; in the C locale, as Python likes
    it (UTF-8 all the same) and with its help switched off."""
    names, out = ("Tür", "椅子", "a\nb", "back\\slash"), tmp_path / "out.ply"
    np.savez(tmp_path / "a.npz", points=rng.uniform(0, 2, (300, 3)), colors=rng.integers(0, 256, (300, 3)))
    command = [sys.executable, "-m", "geoguide", "segment", str(tmp_path / "a.npz"), "--labels", ",".join(names)]
    environment = os.environ | {"LC_ALL": "C"} | decoding
    ended = subprocess.run([*command, "--out", str(out)], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    comments = [comment.encode("ascii").decode("unicode_escape") for comment in PlyData.read(str(out)).comments]
    assert comments == [f"label {i} {name}" for i, name in enumerate(names)]
    assert tuple(json.loads(out.with_suffix(".json").read_text("utf-8"))["labels"]) == names
    assert "Tür" in out.with_suffix(".json").read_text("utf-8")
    assert len(ended.stdout.splitlines()) == len(names) + 4  # and how the scan was read: its normals, its extent


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match=r"--labels: expected UTF-8 text"):
        own_scan.parse_labels("T\udcfcr")


def test_how_a_scan_was_read_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    points = 1000 * np.concatenate([rng.uniform(0, 3, (600, 3)) * [1, 1, 0], rng.uniform(0, 3, (600, 3)) * [1, 0, 1]])
    np.savez(tmp_path / "a.npz", points=points + np.array([2e9, 0, 0]), colors=rng.integers(0, 60_000, (1200, 3)))
    arguments = ("segment", str(tmp_path / "a.npz"), "--labels", "wall, floor", "--out", str(tmp_path / "out.ply"))
    assert run(*arguments) == 2
    assert "coordinates do not look like metres" in capsys.readouterr().err
    assert run(*arguments, "--unit", "mm") == 0
    printed = capsys.readouterr().out.splitlines()
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))["as_read"]
    assert printed[: len(written) + 1] == ["as read:", *(f"  {said}" for said in written)]
    assert [said.split()[0] for said in written] == ["coordinates", "coordinates", "colours", "no", "the"]
    vertex = PlyData.read(str(tmp_path / "out.ply"))["vertex"]
    np.testing.assert_array_equal(vertex["x"], points[:, 0] + 2e9)


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "f2"])
@pytest.mark.parametrize("mesh", [True, False])
def test_a_ply_written_and_read_in_parts_is_plyfiles(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: str, mesh: bool
) -> None:
    """Byte for byte what plyfile writes of the whole table, of each type of coordinates."""
    points = rng.uniform(0, 9, (100, 3)).astype(kind)
    faces = rng.integers(0, 100, (30, 3)) if mesh else None
    scene = Scene("a", points.astype(np.float32), np.zeros((100, 3), np.float32), faces=faces, file_points=points)
    ids, scores = rng.integers(0, 2, 100), rng.random(100, dtype=np.float32)
    result = own_scan.Segmentation(scene, ("wall", "Tür"), ids, scores, {}, instances=ids)
    table = [*points.astype({"i8": "f8", "f2": "f4"}.get(kind, kind)).T, *palette(2)[ids].T]
    table += [ids.astype("i4"), scores, ids.astype("i4")]
    names = ["x", "y", "z", "red", "green", "blue", "label", "score", "instance"]
    vertex = np.rec.fromarrays(table, [(name, values.dtype) for name, values in zip(names, table, strict=True)])
    elements = [PlyElement.describe(vertex, "vertex")]
    if mesh:
        triangles = np.empty(30, [("vertex_indices", "i4", (3,))])
        triangles["vertex_indices"] = faces
        elements.append(PlyElement.describe(triangles, "face"))
    PlyData(elements, comments=["label 0 wall", "label 1 T\\xfcr"]).write(str(tmp_path / "plyfile.ply"))
    for module in (labelled, ply):
        monkeypatch.setattr(module, "ROWS", 7)
    own_scan.write_labelled(tmp_path / "a.ply", result)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "plyfile.ply").read_bytes()
    read = load_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.points if read.file_points is None else read.file_points, points)


def test_nothing_is_left_in_the_users_folder(mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("segment", str(mesh), "--labels", "never, seen, before") == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{mesh.stem}_labelled{end}" for end in (".ply", ".json")}


def test_arrays_give_what_the_scene_gives(mesh: Path) -> None:
    scene, model = load_points(mesh), geoguide.load("mini")
    ids, scores = model.segment(scene.points, scene.colors, scene.normals, labels=list(LABELS))
    again = model.segment_scene(replace(scene, faces=None), labels=list(LABELS))
    np.testing.assert_array_equal(ids, again[0])
    np.testing.assert_array_equal(scores, again[1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "words separated by commas"),
        ("chair,", "words separated by commas"),
        ('chair, " "', "words separated by commas"),
        ('chair, "chair"', "'chair' is named twice"),
        ("chair; table", "separated by commas, found one word"),
        ("椅子、机", "separated by commas, found one word"),
        ("chair\ntable\n", "separated by commas, found one word"),  # as "$(cat words.txt)" gives it
        ("chair\ttable", "separated by commas, found one word"),
        ('["chair", "table"]', r"without \[ around them"),
        ("'chair,table'", "without ' around them"),  # the quotes that cmd.exe hands over
        ("“chair”, “table”", "without “ around them"),
        ("«chaise»", "without « around them"),
        (__file__, "separated by commas, found a file"),
        ("words.txt", "separated by commas, found a file"),  # that is not there
        ("chair, \u200b", "words separated by commas"),
        ("chair, \x00", "words separated by commas"),
        ("\udcff, chair", "UTF-8"),
        ("a, b, a", "'a' is named twice"),
        ("Chair, table, chair", "'Chair' and 'chair' are the same"),
        ("office chair, Office  chair", "are the same"),
        ("Tür, Tu\u0308r", "are the same"),
    ],
)
def test_labels_that_cannot_be_used(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        own_scan.parse_labels(text)
    assert "\n" not in str(error.value)


def test_labels_of_any_kind() -> None:
    assert own_scan.parse_labels(" a , Tür,椅子, !!!, two\nlines ") == ("a", "Tür", "椅子", "!!!", "two\nlines")
    assert own_scan.parse_labels('"table, round", wall ,"a","b" c, 5" pipe, "d') == (
        *("table, round", "wall", "a", '"b" c', '5" pipe', '"d'),
    )
    assert own_scan.parse_labels('"chair; table"') == ("chair; table",)
    for text in ("(old) chair, TV (flat)", "'80s sofa, kids' chair", "rock 'n' roll, d'eau", "[a] b, c [d]", "chair\n"):
        assert own_scan.parse_labels(text) == tuple(word.strip() for word in text.split(","))
    assert own_scan.parse_labels("T\udcc3\udcbcr") == ("Tür",)  # as a locale without UTF-8 hands it over
    assert own_scan.parse_labels("\ufeffchair,\r\ntable\r\n") == ("chair", "table")  # as "$(cat file)" hands it over
    many = ["x" * 10_000, *map(str, range(5000))]
    assert own_scan.parse_labels(",".join(many)) == tuple(many)


def test_what_was_written_is_known_again(mesh: Path, tmp_path: Path) -> None:
    result = own_scan.segment_scan(own_scan.open_scan(mesh), geoguide.load("mini"), LABELS)
    own_scan.write_labelled(tmp_path / "out.ply", result)
    assert own_scan.is_labelled(tmp_path / "out.ply") and not own_scan.is_labelled(mesh)
    assert not own_scan.is_labelled(tmp_path / "out.json")


def test_a_labelled_ply_keeps_what_the_scan_said_of_its_points(tmp_path: Path, rng: np.random.Generator) -> None:
    count = 60
    kinds = [("x", ">f8"), ("y", ">f8"), ("z", ">f8"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("nx", "f4")]
    kinds += [("ny", "f4"), ("nz", "f4"), ("scalar_Intensity", ">f4"), ("label", "u2"), ("input_label", "i1")]
    rows = np.zeros(count, kinds)
    for name, kind in kinds:
        rows[name] = rng.integers(1, 100, count) if kind[-2] in "iu" else rng.random(count)
    scan, out = tmp_path / "scan.ply", tmp_path / "out.ply"
    PlyData([PlyElement.describe(rows, "vertex")], byte_order=">").write(str(scan))
    scene = own_scan.open_scan(scan).scene
    result = own_scan.Segmentation(scene, LABELS, rng.integers(0, len(LABELS), count), np.ones(count, np.float32), {})
    own_scan.write_labelled(out, result, scan)
    found = PlyData.read(str(out))["vertex"].data
    assert found.dtype.names[:8] == ("x", "y", "z", "red", "green", "blue", "label", "score")
    np.testing.assert_array_equal(found["label"], result.ids)
    renamed = {"red": "input_red", "green": "input_green", "blue": "input_blue", "label": "input_input_label"}
    for name in rows.dtype.names:
        np.testing.assert_array_equal(found[renamed.get(name, name)], rows[name])
    again = replace(result, ids=(result.ids + 1) % len(LABELS), scene=own_scan.open_scan(out).scene)
    own_scan.write_labelled(tmp_path / "again.ply", again, out)
    last = PlyData.read(str(tmp_path / "again.ply"))["vertex"].data
    assert last.dtype == found.dtype  # its own labels and their colours are replaced
    np.testing.assert_array_equal(last["label"], again.ids)
    np.testing.assert_array_equal(last["input_red"], rows["red"])
    PlyData([PlyElement.describe(rows[::-1], "vertex")]).write(str(scan))
    with pytest.raises(DataError, match=r"scan\.ply: was changed while it was labelled"):
        own_scan.write_labelled(out, result, scan)
    assert PlyData.read(str(out))["vertex"].data.dtype == found.dtype


def test_what_a_labelled_ply_does_not_keep_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    """Lists of vertices, fields of faces and elements of one's own went without a word; a plain mesh has none."""
    rows = np.zeros(30, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("frames", "O"), ("time", "f8")])
    for name in "xyz":
        rows[name] = rng.random(30)
    rows["frames"] = [np.arange(number % 4, dtype="i4") for number in range(30)]
    faces = np.zeros(10, [("vertex_index", "i4", (3,)), ("material", "u1")])
    faces["vertex_index"] = np.arange(30).reshape(10, 3)
    more = np.array([(1,)], [("focal", "f4")])
    vertex = PlyElement.describe(rows, "vertex", val_types={"frames": "i4"}, len_types={"frames": "u1"})
    scan, out, said = tmp_path / "scan.ply", tmp_path / "out.ply", "not in the labelled file: "
    for named, parts in {
        "frames of vertex, material of face, element camera": (vertex, faces, PlyElement.describe(more, "camera")),
        "": (PlyElement.describe(repack(rows[["x", "y", "z", "time"]]), "vertex"), repack(faces[["vertex_index"]])),
    }.items():
        elements = [part if isinstance(part, PlyElement) else PlyElement.describe(part, "face") for part in parts]
        PlyData(elements).write(str(scan))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scene = load_points(scan)
            result = own_scan.Segmentation(scene, LABELS, np.zeros(30, np.int64), np.ones(30, np.float32), {})
            own_scan.write_labelled(out, result, scan)
        found = [str(each.message).partition(said)[2] for each in caught if said in str(each.message)]
        assert found == [named] * bool(named)
        np.testing.assert_array_equal(PlyData.read(str(out))["vertex"]["time"], rows["time"])


def test_every_label_has_a_colour_of_its_own() -> None:
    """The series of hues alone repeats itself from the 612th on, and has 1,836 colours in all."""
    hues = [(number * 0.61803398875) % 1.0 for number in range(20_000)]
    series = [colorsys.hls_to_rgb(hue, 0.45 + 0.2 * (number % 2), 0.75) for number, hue in enumerate(hues)]
    series = (255 * np.array(series)).astype(np.uint8)
    found, first = palette(20_000), np.sort(np.unique(series, axis=0, return_index=True)[1])
    assert len(first) == 1836 and first[611] > 611
    np.testing.assert_array_equal(found[first], series[first])
    assert len(np.unique(found, axis=0)) == 20_000
    np.testing.assert_array_equal(palette(611), found[:611])


def test_a_scan_of_very_many_labels_is_known_again(tmp_path: Path, rng: np.random.Generator) -> None:
    """Their comments, before the properties, make megabytes."""
    labels = tuple(f"word {number} of a long list of things" for number in range(60_000))
    scene = Scene("a", rng.random((50, 3), np.float32), np.zeros((50, 3), np.float32))
    result = own_scan.Segmentation(scene, labels, rng.integers(0, 60_000, 50), np.ones(50, np.float32), {})
    own_scan.write_labelled(tmp_path / "many.ply", result)
    assert own_scan.is_labelled(tmp_path / "many.ply")
    assert len(load_points(tmp_path / "many.ply")) == 50


NOT_TEXT = os.fsdecode(b"t\xfcr \xff.bin")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names of files are text")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "xx_YY"])
def test_a_name_that_is_no_text_is_labelled(tmp_path: Path, locale: str) -> None:
    """It failed after all the work: the summary holds the scan's name."""
    rows = np.random.default_rng(0).uniform(0, 2, (300, 6)).astype(np.float32)
    rows.tofile(tmp_path / NOT_TEXT)
    command = [sys.executable, "-m", "geoguide", "segment", NOT_TEXT, "--columns", "6", "--labels", "wall, floor"]
    environment = os.environ | {"LC_ALL": locale, "PYTHONPATH": str(Path(geoguide.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    labelled = tmp_path / f"{NOT_TEXT.removesuffix('.bin')}_labelled.ply"
    assert len(PlyData.read(str(labelled))["vertex"]) == 300
    assert json.loads(labelled.with_suffix(".json").read_text(encoding="utf-8"))["scan"] == Path(NOT_TEXT).stem
