"""Voxels and fused features against the recorded output of OpenScene's own voxelizer and loader."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from geoguide.datasets.formats.fused_features import write_fused
from geoguide.datasets.openscene_layout import load_scene, open_features
from geoguide.students.openscene import voxelize


def official_matrix(state: np.random.RandomState, size: float, augmented: bool) -> np.ndarray:
    """The rotation and scale [3, 3] that OpenScene's voxelizer draws, whether or not augmentation is on."""
    if not augmented:
        return np.eye(3) / size
    turns = []
    for axis, bound in enumerate((np.pi / 64, np.pi / 64, np.pi)):
        angle = state.uniform(-bound, bound)
        turns.append(expm(np.cross(np.eye(3), np.eye(3)[axis] * angle)))
    state.shuffle(turns)
    return turns[0] @ turns[1] @ turns[2] * (1 / size * state.uniform(0.9, 1.1))


@pytest.mark.parametrize("size", [0.02, 0.05])
@pytest.mark.parametrize("augmented", [0, 1])
def test_voxels_equal_the_official_voxelizer(golden: Path, size: float, augmented: int):
    """The same voxels, the same point for each and the same voxel of each point; only their order is another."""
    expected = np.load(golden / "openscene_loader" / "E_loader.npz")
    points = np.load(golden / "lifting" / "A_projection.npz")["points"].astype(np.float64)
    turn = official_matrix(np.random.RandomState(int(expected["seed"])), size, bool(augmented))
    grid, first, voxel = voxelize(points @ turn.T, 1.0)
    key = f"vox{size}_aug{augmented}"
    theirs = np.argsort(expected[f"{key}_ind"])
    ours = np.argsort(first)
    assert np.array_equal(first[ours], expected[f"{key}_ind"][theirs])
    assert np.array_equal(grid[ours], expected[f"{key}_coords"][theirs])
    assert np.array_equal(first[voxel], expected[f"{key}_ind"][expected[f"{key}_reverse"]])


@pytest.fixture
def official(golden: Path, tmp_path: Path) -> Path:
    """The golden's input, written in the published layout; returns the scene file."""
    expected = np.load(golden / "openscene_loader" / "E_loader.npz")
    fusion = np.load(golden / "lifting" / "A_fusion.npz")
    points = np.load(golden / "lifting" / "A_projection.npz")["points"].astype(np.float64)
    path = tmp_path / "scannet_3d" / "train" / "scene0000_00_vh_clean_2.pth"
    path.parent.mkdir(parents=True)
    torch.save((points, expected["colors"].astype(np.float64), expected["labels"].astype(np.float64)), path)
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    feat = torch.from_numpy(fusion["fused_feat"]).half()
    subsets = np.unpackbits(fusion["train_pt_mask_full_bits"], axis=1)[:, : len(points)].astype(bool)
    for number, mask in enumerate(subsets):
        value = {"feat": feat[mask], "mask_full": torch.from_numpy(mask)}
        torch.save(value, tmp_path / "train" / f"scene0000_00_{number}.pt")
    # Written by us, and not by torch.save: what the official loader makes of its own file must come of ours.
    write_fused(tmp_path / "val" / "scene0000_00_0.pt", feat.numpy(), fusion["val_pt_mask_full"])
    return path


@pytest.mark.parametrize("item", ["train_noaug", "val_evalall"])
def test_features_equal_the_official_loader(golden: Path, official: Path, item: str):
    expected = np.load(golden / "openscene_loader" / "E_loader.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = load_scene(official)
        files = open_features(official.parents[2] / item.split("_")[0], official, len(scene))
    state = np.random.RandomState(int(expected["seed"]))
    features = files[state.randint(len(files)) if len(files) > 1 else 0]
    turn = official_matrix(state, 0.02, True)  # "noaug" turns off the elastic and colour augmentation only
    grid, first, voxel = voxelize(scene.points.astype(np.float64) @ turn.T, 1.0)

    coords = expected[f"{item}_coords"][:, 1:]
    theirs, ours = (np.lexsort(cells.T[::-1]) for cells in (coords, grid))
    rows, seen = features.rows(first)
    assert np.array_equal(grid[ours], coords[theirs])
    assert np.array_equal(seen[ours], expected[f"{item}_mask"][theirs])
    if item == "val_evalall":  # every voxel has a row there, zero where unseen; labels stay per point
        assert np.array_equal(rows[ours], expected[f"{item}_feat3d"][theirs])
        assert np.array_equal(scene.labels, expected[f"{item}_labels"])
        assert np.array_equal(grid[voxel], coords[expected[f"{item}_reverse"]])
    else:  # rows of the seen voxels only
        full = np.zeros_like(rows)
        full[expected[f"{item}_mask"]] = expected[f"{item}_feat3d"]
        assert np.array_equal(rows[ours], full[theirs])
        assert np.array_equal(scene.labels[first][ours], expected[f"{item}_labels"][theirs])
    colors = scene.colors[first] * 2 - 1
    if not (expected[f"{item}_feats"] == 1).all():
        np.testing.assert_allclose(colors[ours], expected[f"{item}_feats"][theirs], atol=1e-3)  # stored as halves
