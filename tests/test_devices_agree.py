"""What a GPU computes is what the CPU computes (`--device cuda`); and the benchmark of both runs on any machine.

On the CPU the comparison is trivially true, and shows that the test itself runs.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from regions import random_batch

import geoguide
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.errors import InputError
from geoguide.experiments.presets import LARGE_PRESETS, PRESETS
from geoguide.method.batch import Batch
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.self_distillation import SelfDistillationConfig
from geoguide.ops.sparse import neighbor_table, strided_table
from geoguide.pipeline import train
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.train import fit
from geoguide.students.adapter import Adapter

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
C1, C = 5, 8
CONFIGS = PRESETS | {"large": LARGE_PRESETS["works-best"], "adapter only": ObjectiveConfig(modules=())}


def moved(batch: Batch, device: torch.device) -> Batch:
    names = ("points", "geometry", "lifted", "seen", "superpoints", "masks")
    return replace(batch, **{name: getattr(batch, name).to(device) for name in names})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_step(name: str, device: torch.device) -> None:
    """Every term and every gradient in float64: USD, IMR, IIRC, distillation, and what pools for them."""
    found = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        adapter = Adapter(C1, C).double().to(where)
        objective = Objective(C1, C, CONFIGS[name]).double().to(where)
        batch = moved(random_batch(dtype=torch.float64), where)
        terms = objective(adapter(batch.geometry), batch, torch.Generator().manual_seed(0))
        terms["total"].backward()
        gradients = [parameter.grad for parameter in (*adapter.parameters(), *objective.parameters())]
        found.append(
            ({key: value.cpu() for key, value in terms.items()}, [g if g is None else g.cpu() for g in gradients])
        )
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-11)


def test_tables_of_neighbours(rng: np.random.Generator, device: torch.device) -> None:
    """By merging sorted keys on the CPU, by searching them on a GPU."""
    cells = np.unique(rng.integers(0, 12, (400, 3)), axis=0)
    grid, batch = torch.from_numpy(cells), torch.zeros(len(cells), dtype=torch.int64)
    for table in (neighbor_table, lambda *given: strided_table(*given)[0]):
        one, other = table(grid, batch), table(grid.to(device), batch.to(device))
        pairs = [sorted(zip(t.source.tolist(), t.target.tolist(), strict=True)) for t in (one, other)]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("flash", [False, True])
def test_attention_and_convolution_of_the_encoder(flash: bool, rng: np.random.Generator, device: torch.device) -> None:
    """Patches of one length, and of varying length through SDPA; in float32."""
    small = {"stride": [2], "enc_depths": [1, 1], "enc_channels": [8, 16], "enc_num_head": [1, 2]}
    torch.manual_seed(0)
    model = PointTransformerV3(**small, enc_patch_size=[32, 32], enable_flash=flash).eval()
    cells = torch.from_numpy(np.unique(rng.integers(0, 10, (300, 3)), axis=0))
    feat = torch.from_numpy(rng.normal(size=(len(cells), 9)).astype(np.float32))
    inputs = (cells.float() * 0.02, cells, feat, torch.tensor([100, len(cells)]))
    with torch.inference_mode():
        expected = model(*inputs)[-1].feat
        found = model.to(device)(*(tensor.to(device) for tensor in inputs))[-1].feat.cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


TRAININGS = {
    "adapter": {},
    "openscene": {"objective__modules": (), "openscene__width": 0.1, "openscene__voxel": 0.2},
    "point_transformer": {"objective__modules": ()},
    "pseudo labels": {
        "objective__modules": (),
        "train__self_distillation": SelfDistillationConfig("history", begins=0.5),
    },
    "mean teacher": {
        "objective__modules": (),
        "train__self_distillation": SelfDistillationConfig("mean_teacher", begins=0.5),
    },
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_and_one_that_goes_on(
    name: str, tiny: ExperimentConfig, tiny_scenes: dict, device: torch.device, tmp_path: Path, killed
) -> None:
    """Losses of the CPU in float32, whole and after a break; and in bf16 close to them."""
    model = name if name in ("openscene", "point_transformer") else "adapter"
    steps = {"train__steps": 4, "train__evaluate_every": 1, "train__checkpoint_every": 2}
    config = tiny.replace(train__model=model, **steps, **TRAININGS[name])

    def losses(where: str, precision: str = "float32", **options: Path) -> list[float]:
        sets = {"train": tiny_scenes["train"], "val": [], "progress": False}
        return [row["total"] for row in fit(config, **sets, device=where, precision=precision, **options).history]

    # Adam's first steps go by the signs of gradients, of which an entire network has some at the edge of float32.
    expected, near = losses("cpu"), 1e-2 if model == "adapter" else 3e-2
    assert losses(str(device)) == pytest.approx(expected, rel=near)
    killed(train._State, 3, lambda: losses(str(device), run_dir=tmp_path))
    assert losses(str(device), run_dir=tmp_path) == pytest.approx(expected, rel=near)
    rounded = losses(str(device), "bf16")
    assert rounded == pytest.approx(expected, rel=0.2) and rounded != expected


@pytest.mark.parametrize("name", ["adapter", "openscene", "point_transformer"])
def test_scores(name: str, tiny: ExperimentConfig, tiny_scenes: dict, device: torch.device) -> None:
    """One pass, and two turned ones beside the 2D features."""
    config = tiny.replace(train__model=name, train__steps=1, **TRAININGS[name])
    student = fit(config, train=tiny_scenes["train"], val=[], device="cpu", progress=False).student
    for mode, repeats in (("distill", 1), ("ensemble", 2)):
        scored, found = config.replace(protocol__mode=mode, protocol__repeats=repeats), []
        for where in (torch.device("cpu"), device):
            student.network.to(where)
            found.append(evaluate(scored, student, scenes=tiny_scenes["val"]).confusion.matrix)
        assert np.abs(found[0] - found[1]).sum() <= 0.02 * found[0].sum()


def test_segment(rng: np.random.Generator, device: torch.device) -> None:
    points, colors = rng.uniform(0, 2, (500, 3)), rng.integers(0, 255, (500, 3))
    sides = [
        geoguide.load("mini").to(str(where)).segment(points, colors, labels=["chair", "wall"])
        for where in ("cpu", device)
    ]
    assert (sides[0][0] == sides[1][0]).mean() > 0.99
    np.testing.assert_allclose(sides[0][1], sides[1][1], atol=0.02)


def test_the_benchmark_of_both(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make gpu-check` runs it, with hardly anything to do: a row for each task, both sides, one file."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    out = tmp_path / "gpu.json"
    gpu.main(["--device", str(device), "--tiny", "--repeats", "1", "--out", str(out)])
    written = json.loads(out.read_text())
    assert {row["task"] for row in written["rows"]} == {"training step", "encoder", "segment"}
    for row in written["rows"]:
        assert row["times_faster"] > 0 and row["device"]["seconds"] > 0 and np.isfinite(row["relative_difference"])
        most = 1e-3 if row["precision"] == "float32" else 0.3
        assert row["relative_difference"] < (0.02 if row["task"] == "segment" else most)  # of 600 points a label or two
        assert ("peak_gib" in row["device"]) == (device.type == "cuda")
    with pytest.raises(SystemExit, match="needs --out"):
        gpu.main(["--device", "cpu"])
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device 'cuda'"):
            gpu.main([])
    for name in ("gpu", "backbone", "training_step", "_measure"):
        sys.modules.pop(name, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "words", [[str(BENCHMARKS / "gpu.py")], ["-m", "pytest", "--device", "cuda", str(Path(__file__))]]
)
def test_without_a_gpu_each_command_of_gpu_check_is_one_line(words: list[str]) -> None:
    ended = subprocess.run([sys.executable, *words], cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode != 0 and "device 'cuda': " in line and ended.stdout == ""
