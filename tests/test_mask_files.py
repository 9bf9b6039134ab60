"""Files of instance masks: the benchmark's submission format and Mask3D's, written here by hand; and back again."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.frozen import config_hash, from_dict
from geoguide.instances.mask_files import index_digest, read_mask_index, scene_index, write_mask_index
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.scene_masks import MaskConfig, masks_identity, parse_masks, scene_masks
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare
from geoguide.scene import Scene

INSIDE = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], dtype=bool)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """Of ScanNet's benchmark, as its documentation shows it: any integer but 0 is inside."""
    write(tmp_path / "scene0707_00.txt", "predicted_masks/scene0707_00_000.txt 10 0.7234\n"
          "predicted_masks/scene0707_00_001.txt 36 0.9038\npredicted_masks/scene0707_00_002.txt 4 0.1\n")  # fmt: skip
    write(tmp_path / "predicted_masks" / "scene0707_00_000.txt", "1\n1\n0\n0\n0\n")
    write(tmp_path / "predicted_masks" / "scene0707_00_001.txt", "0\n0\n36\n36\n36\n")
    write(tmp_path / "predicted_masks" / "scene0707_00_002.txt", "0\n1\n1\n0\n0")
    return tmp_path / "scene0707_00.txt"


@pytest.fixture
def mask3d(tmp_path: Path) -> Path:
    """As Mask3D's trainer writes it; numbers of masks under its threshold are left out."""
    base = tmp_path / "eval_output" / "instance_evaluation_validation_0" / "decoder_-1"
    write(base / "scene0011_00.txt", "pred_mask/scene0011_00_0.txt 5 0.9866716265678406\n"
          "pred_mask/scene0011_00_1.txt 8 0.9104\npred_mask/scene0011_00_7.txt 33 0.0012\n")  # fmt: skip
    (base / "pred_mask").mkdir()
    for number, row in zip((0, 1, 7), INSIDE, strict=True):
        np.savetxt(base / "pred_mask" / f"scene0011_00_{number}.txt", row.astype("uint8"), fmt="%d")
    return base / "scene0011_00.txt"


def test_a_submission_of_the_benchmark(submission: Path) -> None:
    masks = read_mask_index(submission, 5)
    np.testing.assert_array_equal(masks.dense(), INSIDE)
    np.testing.assert_allclose(masks.scores, [0.7234, 0.9038, 0.1])
    assert read_mask_index(submission).num_points == 5


def test_what_mask3d_writes(mask3d: Path) -> None:
    masks = read_mask_index(mask3d, 5)
    np.testing.assert_array_equal(masks.dense(), INSIDE)
    np.testing.assert_allclose(masks.scores, [0.98667163, 0.9104, 0.0012])


def test_an_index_that_was_written_on_windows(mask3d: Path) -> None:
    text = mask3d.read_text()
    mask3d.write_bytes(text.replace("/", "\\").replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read_mask_index(mask3d, 5).dense(), INSIDE)
    assert index_digest(mask3d)
    mask3d.write_text("..\\" + text)
    with pytest.raises(DataError, match="line 1 must name a mask below the index's folder"):
        read_mask_index(mask3d, 5)


def test_masks_of_low_score_are_left_out_unread(mask3d: Path) -> None:
    (mask3d.parent / "pred_mask" / "scene0011_00_7.txt").unlink()
    np.testing.assert_array_equal(read_mask_index(mask3d, 5, min_score=0.5).dense(), INSIDE[:2])
    assert len(read_mask_index(mask3d, 5, min_score=2.0)) == 0


def test_written_masks_are_read_back_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    masks = InstanceMasks.from_dense(rng.random((12, 40)) < 0.3, rng.random(12))
    path = write_mask_index(tmp_path / "scene0707_00.txt", masks, label=39)
    back = read_mask_index(path, 40)
    np.testing.assert_array_equal(back.dense(), masks.dense())
    np.testing.assert_array_equal(back.scores, masks.scores)
    first = path.read_text().split("\n")[0].split(" ")
    assert first[:2] == ["predicted_masks/scene0707_00_000.txt", "39"]
    # ScanNet's own reader of a mask (BenchmarkScripts/util_3d.py, load_ids)
    lines = (tmp_path / first[0]).read_text().splitlines()
    np.testing.assert_array_equal(np.array(lines, dtype=np.int64), masks.dense()[0])
    none = InstanceMasks.from_dense(np.zeros((0, 40), bool))
    assert len(read_mask_index(write_mask_index(tmp_path / "empty.txt", none, label=39), 40)) == 0
    for wrong in ("scene.json", "a scene.txt"):
        with pytest.raises(InputError, match=r"must be named <scene>.txt, without blanks"):
            write_mask_index(tmp_path / wrong, masks, label=39)


def test_mask_of_another_length_is_named(submission: Path) -> None:
    write(submission.parent / "predicted_masks" / "scene0707_00_001.txt", "1\n0\n1\n")
    with pytest.raises(DataError, match=r"00_001\.txt: mask must have 5 lines, found 3"):
        read_mask_index(submission)
    with pytest.raises(DataError, match=r"00_000\.txt: mask must have 6 lines, found 5"):
        read_mask_index(submission, num_points=6)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("1\n0.5\n0\n0\n0\n", "'0.5' for vertex 1"),
        ("3\n-1\n-1\n-1\n-1\n", "'-1' for vertex 1"),
        ("1\n0\nyes\n0\n0\n", "'yes' for vertex 2"),
        (f"{9**30}\n0\n0\n0\n0\n", f"'{9**30}' for vertex 0"),
    ],
)
def test_mask_file_with_other_values(submission: Path, content: str, found: str) -> None:
    write(submission.parent / "predicted_masks" / "scene0707_00_000.txt", content)
    with pytest.raises(DataError, match=rf"00_000\.txt: mask must hold one integer a line, .* found {found}"):
        read_mask_index(submission)


@pytest.mark.parametrize(
    "line",
    [
        "masks/a.txt 3",
        "masks/a.txt 3 high",
        "masks/a.txt 3 nan",
        "a.txt",
        "masks/a.txt 0.9 3",
        "masks/a.txt chair 0.9",
        "masks/a.txt nan 0.9",
        "masks/a.txt inf 0.9",
    ],
)
def test_broken_lines(submission: Path, line: str) -> None:
    submission.write_text("predicted_masks/scene0707_00_000.txt 3 0.9\n" + line + "\n")
    for read in (read_mask_index, index_digest):
        with pytest.raises(DataError, match=f"txt: line 2 must be 'mask.txt class score', .*found '{line}'"):
            read(submission)


def test_an_index_is_read_as_scannets_evaluation_reads_it(submission: Path) -> None:
    """Its `read_instance_prediction_file` keeps a dictionary by absolute path, and takes int(float(class))."""
    mask = "predicted_masks/scene0707_00_00"
    submission.write_text(f"{mask}0.txt 3.0 0.9\n{mask}1.txt 4 0.2\n./{mask}0.txt 5 0.5\n")
    masks = read_mask_index(submission, 5)
    np.testing.assert_array_equal(masks.dense(), INSIDE[:2])
    np.testing.assert_allclose(masks.scores, [0.5, 0.2])
    assert len(read_mask_index(submission, 5, min_score=0.6)) == 0  # the last line says 0.5


@pytest.mark.parametrize("name", ["/etc/mask.txt", "../mask.txt", "predicted_masks/../../mask.txt"])
def test_masks_outside_the_folder_are_refused_as_the_benchmark_refuses_them(submission: Path, name: str) -> None:
    submission.write_text(f"{name} 3 0.9\n")
    with pytest.raises(DataError, match="line 1 must name a mask below the index's folder"):
        read_mask_index(submission)


@pytest.mark.parametrize("name", ["..masks/a.txt", "./..masks/a.txt", "x/../..masks/a.txt"])
def test_a_name_that_begins_with_dots_lies_below_the_folder(submission: Path, name: str) -> None:
    (submission.parent / "x").mkdir()
    (submission.parent / "..masks").mkdir()
    write(submission.parent / "..masks" / "a.txt", "1\n0\n0\n1\n0\n")
    submission.write_text(f"\n  {name} 3 0.9 \n\n")  # and blanks around a line say nothing
    assert read_mask_index(submission).dense().tolist() == [[True, False, False, True, False]]


def test_no_file_is_written_that_would_not_be_read(tmp_path: Path) -> None:
    masks = InstanceMasks.from_dense(np.eye(2, dtype=bool), np.array([0.5, np.inf]))
    with pytest.raises(InputError, match="scores of masks must be finite, found inf for mask 1"):
        write_mask_index(tmp_path / "a.txt", masks, label=3)
    assert not list(tmp_path.iterdir())


def test_missing_and_empty_files(submission: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: mask index not found"):
        read_mask_index(submission.parent / "none.txt")
    with pytest.raises(DataError, match=r"scene0000_00\.txt: mask index of scene scene0000_00 not found .* 1 of other"):
        scene_index(submission.parent, "scene0000_00")
    with pytest.raises(DataError, match=r"found no index there"):
        scene_index(submission.parent / "nowhere", "scene0000_00")
    (submission.parent / "predicted_masks" / "scene0707_00_001.txt").unlink()
    for read in (read_mask_index, index_digest):
        with pytest.raises(DataError, match=r"00_001\.txt: mask file not found"):
            read(submission)
    with pytest.raises(DataError, match=r"mask index has no mask of score 2 or more and no point count is given"):
        read_mask_index(submission, min_score=2)
    submission.write_text("\n")
    with pytest.raises(DataError, match="mask index is empty"):
        read_mask_index(submission)
    assert len(read_mask_index(submission, num_points=4)) == 0


def test_the_digest_is_of_what_the_files_hold(submission: Path) -> None:
    first = index_digest(submission)
    assert index_digest(submission) == first
    mask = submission.parent / "predicted_masks" / "scene0707_00_001.txt"
    mask.write_text(mask.read_text().replace("36", "12"))
    second = index_digest(submission)
    submission.write_text(submission.read_text().replace("0.9038", "0.9039"))
    assert len({first, second, index_digest(submission)}) == 3


def cube() -> Scene:
    points = np.random.default_rng(1).random((300, 3), dtype=np.float32)
    return Scene("cube", points, colors=points)


def own_masks(folder: Path, scene: Scene, halves: int) -> InstanceMasks:
    masks = InstanceMasks.from_labels(np.arange(len(scene)) * halves // len(scene))
    write_mask_index(folder / f"{scene.name}.txt", masks, label=3)
    return masks


def test_masks_of_files_are_those_of_an_experiment(tmp_path: Path) -> None:
    scene = cube()
    config = MaskConfig("files", folder=str(tmp_path / "own"), made_by="Mask3D")
    tiny = ExperimentConfig(masks=config).replace(backbone__name="descriptors")
    with pytest.raises(DataError, match=rf"{scene.name}\.txt: mask index of scene {scene.name} not found"):
        prepare(scene, tiny, tmp_path / "cache")
    for halves in (2, 3):  # changed files are read anew, although nothing else has changed
        written = own_masks(tmp_path / "own", scene, halves)
        found = prepare(scene, tiny, tmp_path / "cache").masks
        np.testing.assert_array_equal(found.dense(), written.dense())
    strict = replace(config, min_score=2.0)
    assert len(scene_masks(scene, np.zeros(len(scene), int), strict)) == 0
    assert masks_identity(scene.name, MaskConfig()) == []


def test_an_experiment_takes_masks_of_any_score_and_asks_for_no_file_that_it_leaves_out(submission: Path) -> None:
    scene = Scene("scene0707_00", np.eye(5, 3, dtype=np.float32), colors=np.eye(5, 3, dtype=np.float32))
    submission.write_text(submission.read_text().replace(" 0.1\n", " -0.3\n"))
    config, superpoints = MaskConfig("files", folder=str(submission.parent), made_by="Mask3D"), np.zeros(5, int)
    np.testing.assert_array_equal(scene_masks(scene, superpoints, config).dense(), INSIDE)
    strict = replace(config, min_score=0.3)
    identities = [masks_identity(scene.name, one) for one in (config, strict)]
    (submission.parent / "predicted_masks" / "scene0707_00_002.txt").unlink()
    np.testing.assert_array_equal(scene_masks(scene, superpoints, strict).dense(), INSIDE[:2])
    assert masks_identity(scene.name, strict) == identities[1] != identities[0]
    with pytest.raises(DataError, match=r"00_002\.txt: mask file not found"):
        masks_identity(scene.name, config)


def test_masks_of_points_in_another_order_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    """They have the right length, and would teach of strewn points; where they are merely unusual, a line says so."""
    cell = np.stack(np.meshgrid(np.arange(60), np.arange(40), indexing="ij"), axis=-1).reshape(-1, 2)
    points = np.concatenate([cell * 0.05, np.zeros((len(cell), 1))], axis=1).astype(np.float32)
    scene = Scene("a", points, np.zeros_like(points))
    squares = cell[:, 0] // 10 * 4 + cell[:, 1] // 10  # [P], 24 of them
    inside = squares[None] == np.arange(0, 24, 2)[:, None]  # [12, P]
    holes = rng.random(len(points)) < 0.35
    config = MaskConfig("files", folder=str(tmp_path), made_by="me")

    def masks(inside: np.ndarray) -> InstanceMasks:
        write_mask_index(tmp_path / "a.txt", InstanceMasks.from_dense(inside), label=2)
        return scene_masks(scene, np.zeros(len(points), np.int64), config)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for right in (inside, inside[:1], inside[:0], np.ones((1, len(points)), bool), inside | inside[::-1]):
            np.testing.assert_array_equal(masks(right).dense(), right)
    with pytest.warns(UserWarning, match=r"a\.txt: its masks .*\(kappa 0.[345]"):
        assert len(masks(inside & ~holes)) == 12
    with pytest.raises(DataError, match=r"a\.txt: its masks .*kappa -?0\.0.*: are they of another scene, or .*order\?"):
        masks(inside[:, rng.permutation(len(points))])


def test_masks_as_a_command_names_them(tmp_path: Path) -> None:
    assert parse_masks("geometry") == MaskConfig() and parse_masks("learned") == MaskConfig("learned")
    found = parse_masks(str(tmp_path))
    assert (found.source, found.folder, found.made_by) == ("files", str(tmp_path), tmp_path.name)
    with pytest.raises(ConfigError, match=r"masks must be one of geometry, learned, .*, or a folder, found 'files'"):
        parse_masks("files")


def test_identity_of_configs() -> None:
    given = ExperimentConfig(masks=MaskConfig("files", folder="here", made_by="Mask3D"))
    assert config_hash(given) == config_hash(given.replace(masks__folder="there"))
    assert config_hash(given) != config_hash(given.replace(masks__made_by="another"))
    assert config_hash(given) != config_hash(given.replace(masks__min_score=0.5))
    assert config_hash(given) != config_hash(given.replace(masks__min_score=0.0))  # which leaves negative ones out
    assert from_dict(MaskConfig, {"min_score": 0.0}) == MaskConfig()  # as older records have it
    for changes, message in (
        ({"folder": None}, r"masks.folder must be given where masks.source is files"),
        ({"made_by": ""}, r"masks.made_by must be given where masks.source is files"),
        ({"source": "geometry"}, r"masks.folder is not read where masks.source is geometry"),
        ({"weights": "w"}, r"masks.weights is not read where masks.source is files"),
        ({"min_score": float("nan")}, r"masks.min_score must be finite, found nan"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(given.masks, **changes)
