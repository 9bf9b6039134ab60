"""The command line as a user meets it: exit codes, one-line errors, nothing half-written."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from rights import without_rights
from tiny_nuscenes import write_key_frame

import geoguide
from geoguide.benchmarks.definition import Benchmark
from geoguide.cli import Pretrain, Probe, Replicate, Verify, main
from geoguide.datasets.nuscenes import load_key_frame
from geoguide.lifting import project
from geoguide.own_scan import open_scan


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


COMMANDS = [
    "data",
    "train",
    "evaluate",
    "lift",
    "replicate",
    "grid",
    "verify",
    "segment",
    "view",
    "pretrain",
    "probe",
    "cost",
]


def test_says_its_version(capsys) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"geoguide {geoguide.__version__}\n"
    assert {"load", "Scene", "View"} <= set(dir(geoguide))


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_everywhere(command: list[str], capsys) -> None:
    assert run(*command, "--help") == 0
    assert "usage" in capsys.readouterr().out.lower()


def test_what_may_be_named_is_what_there_is() -> None:
    """The commands list names without importing what they name."""
    from geoguide.experiments.profiles import PROFILES
    from geoguide.pretraining.config import PACKAGED
    from geoguide.pretraining.images.run import MODELS
    from geoguide.pretraining.probe_record import BACKBONES

    def named(command: type, field: str) -> set[str]:
        held = get_args(get_type_hints(command)[field])
        return {*held}

    assert named(Probe, "backbone") == {*BACKBONES}
    assert named(Pretrain, "model") == {*PACKAGED, *MODELS, "sas-mini", "masks-mini"}
    others = {*PROFILES} - {"scannet", "matterport3d", "nuscenes"}  # these come as --dataset of main
    assert named(Replicate, "profile") == others | {"main"} and named(Verify, "profile") <= {*PROFILES}


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.uniform(0, 2, (3000, 3)), rng.uniform(0, 255, (3000, 3))], axis=1)
    path = tmp_path / "scan.bin"
    rows.astype(np.float32).tofile(path)
    return path


def test_segment_writes_ply_and_summary(scan, tmp_path, capsys) -> None:
    out = tmp_path / "out.ply"
    assert run("segment", str(scan), "--labels", "chair, whiteboard", "--columns", "6", "--out", str(out)) == 0
    vertex = PlyData.read(str(out))["vertex"]
    assert len(vertex) == 3000 and set(np.unique(vertex["label"])) <= {0, 1}
    colors = np.stack([vertex[c] for c in ("red", "green", "blue")], axis=1)
    assert len(np.unique(colors, axis=0)) == len(np.unique(vertex["label"]))
    summary = json.loads(out.with_suffix(".json").read_text())
    assert sum(row["points"] for row in summary["labels"].values()) == 3000 and "mini" in summary["model"]
    assert "whiteboard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment", "nowhere.ply", "--labels", "chair"], "nowhere.ply"),
        (["segment", "{scan}", "--labels", "chair,,table"], "--labels"),
        (["segment", "{scan}", "--labels", "chair, chair"], "named twice"),
        (["segment", "{scan}", "--labels", "chair", "--model", "nope"], "nope"),
        (["pretrain", "--steps", "0"], "steps must be"),
        (["probe", "sonata-mini", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["train", "--drop", "everything"], "unknown module 'everything'"),
        (["data", "check", "nowhere"], "nowhere"),
        (["data", "make", "{tmp}/x", "--rooms", "0", "0", "0"], "rooms"),
        (["data", "make", "{tmp}/x", "--rooms", "1", "-1", "0"], "rooms"),
        (["data", "make", "{tmp}/x", "--rooms", "1", "2"], "--rooms"),
        (["data", "make", "{tmp}/x", "--houses", "1", "1", "1"], "--houses belongs to another --dataset"),
        (["data", "make", "{scan}"], "found the file"),
        (["data", "make", "{scan}/x"], "cannot be written"),
        (["data", "make", "{tmp}/x", "--workers", "0"], "--workers must be at least 1, found 0"),
        (["data", "make", "{tmp}/x", "--dataset", "mini-nuscenes", "--sens"], "--sens belongs to another --dataset"),
        (["data", "check", "{tmp}", "--sens"], "--sens belongs to `data make`"),
        (["data", "make", "{tmp}/x", "--depth-scale", "5000"], "--depth-scale belongs to `data check`"),
        (["data", "check", "{tmp}", "--seed", "1"], "--seed belongs to `data make`"),
        (["train", "--seed", "-1"], "--seed must be 0 to 4294967295, found -1"),
        (["train", "--steps", "0"], "--steps must be at least 1, found 0"),
        (["train", "--steps", "1" + 400 * "0"], "--steps must be 1 to 9223372036854775807, found 1000"),
        (["train", "--seed", "-1" + 400 * "0"], "--seed must be 0 to 4294967295, found -1000"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--features", "litert:nowhere.tflite"], "nowhere.tflite: LiteRT file not found"),
        (["train", "--features", "litert:{scan}"], "scan.bin: no LiteRT network: expected b'TFL3' at byte 4"),
        (["train", "--features", "transformers:{tmp}"], "no segmentation network of transformers"),
        (
            ["train", "--features", "own:no_module:X"],
            "own:no_module:X: cannot be imported (No module named 'no_module')",
        ),
        (["evaluate", "--features", "own:nothing"], "own:nothing: expected own:MODULE:CALLABLE"),
        (["replicate", "--profile", "main", "--features", "caffe:x"], "unknown teacher 'caffe:x'"),
        (["train", "--text", "clip-vit-b32"], "text must be minilm, the space of OpenSeg-like, found clip-vit-b32"),
        (["train", "--text", "word2vec", "--features", "own:a:b"], "text.encoder must be one of minilm"),
        (
            ["train", "--augment", "--backbone", "sonata-mini+descriptors"],
            "--augment needs a backbone that is one network, found sonata-mini+descriptors",
        ),
        (
            ["train", "--augment", "--backbone", "descriptors"],
            "backbone.name must be a backbone with trained weights, found 'descriptors'",
        ),
        (["train", "--backbone", "resnet"], "backbone.name must be one of"),
        (["replicate", "--steps", "3"], "--steps belongs to --profile main"),
        (["replicate", "--backbone", "sonata"], "--backbone belongs to --profile main"),
        (["replicate", "--text", "minilm"], "--text belongs to --profile main"),
        (["train", "--drop", ""], "--drop must not be empty"),
        (["train", "--preset", "best"], "'--preset'. Expected one of ('as-written', 'works-best', 'lineage')"),
        (["train", "--device", "gpu"], "--device: device must be auto, cpu, cuda or cuda:N, found 'gpu'"),
        (["train", "--out", "{tmp}"], "ends in .safetensors"),
        (["replicate", "--workers", "-2"], "--workers must be"),
        (["replicate", "--data", "elsewhere"], "--data belongs to --profile main"),
        (["verify", "--report", "{tmp}"], "--report must name a file"),
        (["pretrain", "--out", "{scan}"], "ends in .safetensors"),
        (["pretrain", "--until", "0"], "--until must be"),
        (["pretrain", "--rooms", "{scan}"], "--rooms must name a folder"),
        (["pretrain", "--run-dir", "{scan}"], "--run-dir must name a folder"),
        (["pretrain", "--device", "meta"], "--device"),
        (["probe", "random", "--out", "{tmp}"], "ends in .json"),
        (["probe", "random", "--steps", "3"], "--steps belongs to"),
        (["segment", "{scan}", "--labels", "chair", "--voxel", "nan"], "--voxel must be"),
        (["segment", "{scan}", "--labels", "chair", "--voxel", "0.1"], "--voxel belongs to folders of depth images"),
        (["segment", "{scan}", "--labels", "chair", "--out", "{scan}"], "ends in .ply"),
        (["segment", "{scan}", "--labels", "chair", "--device", "cuda:77"], "--device: device 'cuda:77'"),
        (["segment", "{scan}", "--labels", "Chair, chair"], "'Chair' and 'chair' are the same"),
        (["segment", "x" * 5000, "--labels", "chair", "--out", "x.ply"], "no such file"),
        (["evaluate", "x" * 5000], "no such model file"),
        (["nothing"], "nothing"),
        ([], "Missing subcommand"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, scan, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [a.format(scan=scan, tmp=tmp_path) for a in arguments]
    if filled[:1] == ["segment"] and filled[1] == str(scan):
        filled += ["--columns", "6"]
    assert run(*filled) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"scan.bin"}


@pytest.mark.parametrize("command", ["segment", "view", "fit-scan"])
def test_a_voxel_is_refused_where_no_command_reconstructs(command: str, tmp_path: Path, capsys, monkeypatch) -> None:
    """Of a ScanNet scene the official mesh is taken; `view` and `fit-scan` did not say that --voxel was not read."""
    if command == "view":
        pytest.importorskip("viser")
    monkeypatch.chdir(tmp_path)
    (scene := tmp_path / "scene0000_00").mkdir()
    (scene / "scene0000_00_vh_clean_2.ply").touch()
    assert run(command, str(scene), "--labels", "chair", "--voxel", "0.1") == 2
    assert "--voxel belongs to folders of depth images" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_a_report_of_verify_is_named_by_its_profile(profile: str, tmp_path: Path, monkeypatch) -> None:
    """Chapter 09 shows verify-quick.json, which the profile `full` overwrote."""
    asked = {}

    def compared(name: str, *, workers: int, report: Path) -> dict:
        asked[name] = report.name
        return {"rows": [], "same_data": True, "reproduced": True}

    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    monkeypatch.setattr("geoguide.experiments.verify.verify", compared)
    assert run("verify", "--profile", profile) == 0 and asked == {profile: f"verify-{profile}.json"}


def test_a_working_folder_that_is_gone_is_one_line(tmp_path, capsys, monkeypatch) -> None:
    """There torch would end the process with a message of its own."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run("segment", str(tmp_path / "scan.ply"), "--labels", "chair") == 2
    error = capsys.readouterr().err
    assert "the working folder is gone" in error and len(error.splitlines()) == 1


def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys, monkeypatch) -> None:
    """A folder that may not be entered was an error that nobody expected."""
    (closed := tmp_path / "closed").mkdir()
    (home := tmp_path / "home").mkdir()
    home.chmod(0o777)  # the other user has a cache to write to
    monkeypatch.setenv("GEOGUIDE_DATA", str(home))
    commands = [
        ["segment", str(closed), "--labels", "chair", "--out", "/dev/shm/x.ply"],
        ["data", "check", str(closed)],
        ["evaluate", "--dataset", "scannet", "--data", str(closed)],
    ]
    for arguments in commands:  # Python's own modules may lie where the other user may not read
        assert run(*arguments) == 2
    capsys.readouterr()
    shutil.rmtree(home / "cache", ignore_errors=True)
    with without_rights(closed):
        for arguments in commands:
            assert run(*arguments) == 2
            error = capsys.readouterr().err.strip()
            assert "closed" in error and "ermission denied" in error and len(error.splitlines()) == 1


def test_an_output_is_refused_before_the_work(scan, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("geoguide.model.load", lambda *given: pytest.fail("the work has begun"))
    (tmp_path / "scan.json").write_text('{"recorded": 2024}')
    (tmp_path / "scan_labelled.ply").write_text("labelled by hand")
    for more in (["--out", "scan.ply"], []):
        assert run("segment", "scan.bin", "--labels", "chair", "--columns", "6", *more) == 2
        assert "of another program" in capsys.readouterr().err
    assert (tmp_path / "scan.json").read_text() == '{"recorded": 2024}'
    assert (tmp_path / "scan_labelled.ply").read_text() == "labelled by hand"


def test_a_full_disk_at_the_end_leaves_what_was_there(scan, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["segment", "scan.bin", "--labels", "chair, floor", "--columns", "6"]
    assert run(*arguments) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the ply has 3,000 rows of 23 bytes
    try:
        assert run(*arguments[:3], "wall, floor", *arguments[4:]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("geoguide: scan_labelled.ply: cannot be written (") and "Traceback" not in str(error)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupt_says_how_it_goes_on(scan, tmp_path, capsys, monkeypatch) -> None:
    def interrupt(*given, **options) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("geoguide.own_scan.segment_scan", interrupt)
    assert run("segment", "scan.bin", "--labels", "chair", "--columns", "6") == 130
    assert "nothing is half-written" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("geoguide.benchmarks.scenes.generate", interrupt)
    assert run("data", "make", str(tmp_path / "new")) == 130
    assert "run the same command again to go on" in capsys.readouterr().err


def test_segment_colours_a_key_frame_from_its_cameras(tmp_path, rng, capsys) -> None:
    folder, out = write_key_frame(tmp_path / "frame", rng), tmp_path / "out.ply"
    frame, scan = load_key_frame(folder), open_scan(folder)
    scene = scan.scene
    view = frame.views[0]
    ahead = project(frame.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit").visible
    seen = (scene.colors != 0.5).all(axis=1)
    assert seen.sum() > 10 and (ahead >= seen).all()  # near points hide others
    np.testing.assert_allclose(scene.colors[seen], np.tile(np.array([10, 20, 30]) / 255, (seen.sum(), 1)), atol=1e-6)
    assert run("segment", str(folder), "--labels", "car, road", "--out", str(out)) == 0
    summary = json.loads(out.with_suffix(".json").read_text())
    assert summary["seen_share"] == round(float(seen.mean()), 4) and "lifting_check" not in summary
    assert f"{100 * seen.mean():.1f} % of the points are seen by a camera" in capsys.readouterr().out


def test_no_traceback_from_the_installed_command(tmp_path) -> None:
    bad = tmp_path / "cut.ply"
    bad.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 100\nproperty float x\nend_header\n\x00\x01")
    command = [sys.executable, "-m", "geoguide", "segment", str(bad), "--labels", "chair"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "cut.ply" in done.stderr and "Traceback" not in done.stderr


def test_lifting_where_no_scene_has_images_is_one_line(tmp_path, rng, capsys) -> None:
    folder = tmp_path / "scans" / "scene0011_00"
    (folder / "color").mkdir(parents=True)
    xyz = rng.random((60, 3)).astype("f4")
    vertex = np.rec.fromarrays([*xyz.T, *np.full((3, 60), 9, "u1")], names="x,y,z,red,green,blue")
    face = np.array([([0, 1, 2],)], dtype=[("vertex_indices", "i4", (3,))])
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements).write(folder / "scene0011_00_vh_clean_2.ply")
    places = ("--data", str(tmp_path), "--test", folder.name, "--splits", "test", "--out", str(tmp_path / "features"))
    assert run("lift", "--features", "mini:lseg-mini", *places) == 2
    assert f"geoguide: {tmp_path}: no images to lift: none of 1 scenes has any" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("lift",), "lifting"),
        (("train",), "a training"),
        (("replicate", "--profile", "main"), "the main table"),
        (("evaluate", "--mode", "fusion"), "mode fusion"),
    ],
)
@pytest.mark.parametrize("real", [False, True])
def test_features_that_are_needed_are_asked_for_before_scenes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, command: tuple[str, ...], what: str, real: bool
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("scenes were read")

    monkeypatch.setattr(Benchmark, "real_data", read)
    monkeypatch.setattr(Benchmark, "generated_data", read)
    assert run(*command, "--features", "none", *(("--data", str(tmp_path)) if real else ())) == 2
    assert f"--features none: expected a 2D model or fused features, which {what} needs" in capsys.readouterr().err


def test_data_check_finds_a_truncated_depth_image(tiny, data_home, tmp_path, capsys) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(data_home / "mini-scannet", root)
    assert run("data", "check", str(root)) == 0
    depth = next(root.glob("scans/scene5000_00/depth/*.png"))
    depth.write_bytes(depth.read_bytes()[:200])
    assert run("data", "check", str(root)) == 1
    assert str(depth) in capsys.readouterr().out


def test_real_scan(recordings, tmp_path) -> None:
    out = tmp_path / "real.ply"
    scan = recordings / "scannet_scan" / "scene0000_00.bin"
    assert run("segment", str(scan), "--labels", "floor, wall, chair, table", "--masks", "--out", str(out)) == 0
    summary = json.loads(out.with_suffix(".json").read_text())
    assert summary["points"] == 40684 and summary["superpoints"] > 50


def test_real_rgbd_recording(recordings, tmp_path) -> None:
    """The lifting check that real data passes: the frames' own colours, lifted, are the cloud's colours."""
    out = tmp_path / "kitchen.ply"
    folder = recordings / "rgbd_kitchen"
    assert run("segment", str(folder), "--labels", "floor, cabinet, wall", "--out", str(out), "--voxel", "0.05") == 0
    check = json.loads(out.with_suffix(".json").read_text())["lifting_check"]
    assert check["median_abs_difference_255"] < 0.25 * check["median_abs_difference_of_unrelated_points_255"]
