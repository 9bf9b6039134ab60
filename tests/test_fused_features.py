"""Fused features read row by row: against dense indexing, in every form they were published in, and broken."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide.datasets.formats import fused_features
from geoguide.datasets.formats.fused_features import FusedFeatures, StreamedFeatures, feature_files, write_fused
from geoguide.errors import DataError, InputError, ReadAs

NAME = "scene0011_01"


@pytest.fixture
def fused(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file, and the dense [N, C] features and mask [N] it was made from."""
    seen = rng.random(500) < 0.4
    dense = np.where(seen[:, None], rng.normal(size=(500, 8)), 0).astype(np.float16)
    path = tmp_path / "features" / f"{NAME}_0.pt"
    path.parent.mkdir()
    torch.save({"feat": torch.from_numpy(dense[seen]), "mask_full": torch.from_numpy(seen)}, path)
    return path, dense, seen


def test_rows_equal_dense_indexing(fused, rng: np.random.Generator):
    path, dense, seen = fused
    features = FusedFeatures(path, 500)
    assert (len(features), features.width) == (500, 8)
    assert np.array_equal(features.seen, seen)
    for index in (rng.integers(0, 500, 900), np.arange(500)[::-1], np.array([], np.int64), np.flatnonzero(~seen)):
        rows, have = features.rows(index)
        assert rows.dtype == np.float16 and have.dtype == np.bool_
        assert np.array_equal(rows, dense[index])
        assert np.array_equal(have, seen[index])


@pytest.mark.parametrize("kind", ["bool", "ids"])
def test_legacy_file_of_three_keys(fused, rng: np.random.Generator, kind: str):
    path, dense, full = fused
    kept = rng.random(int(full.sum())) < 0.7
    mask = torch.from_numpy(kept if kind == "bool" else np.flatnonzero(kept))
    feat = torch.from_numpy(dense[full])[..., None]  # with the trailing axis some of them have
    torch.save({"feat": feat, "mask": mask, "mask_full": torch.from_numpy(full)}, path)
    seen = full.copy()
    seen[full] = kept
    features = FusedFeatures(path)
    assert np.array_equal(features.seen, seen)
    rows, _ = features.rows(np.arange(500))
    assert np.array_equal(rows, np.where(seen[:, None], dense, 0))


def test_numpy_mask_and_the_old_torch_format(fused):
    path, dense, seen = fused
    value = {"feat": torch.from_numpy(dense[seen]), "mask_full": seen}
    torch.save(value, path)
    assert np.array_equal(FusedFeatures(path).rows(np.arange(500))[0], dense)
    torch.save(value, path, _use_new_zipfile_serialization=False)
    with pytest.warns(UserWarning, match=r"written by torch before 1.6"):
        features = FusedFeatures(path)
    assert np.array_equal(features.rows(np.arange(500))[0], dense)


@pytest.mark.parametrize("probed", [1024, 16])
@pytest.mark.parametrize("kind", ["named", "legacy", "old", "tiny"])
def test_rows_of_zeros_are_not_seen(fused, monkeypatch, kind: str, probed: int):
    """As files have them whose mask names every point; with few probes all rows are looked at after one is found."""
    path, dense, seen = fused
    monkeypatch.setattr(fused_features, "PROBED", probed)
    monkeypatch.setattr(fused_features, "ROWS_AT_ONCE", 70)
    value = {"feat": torch.from_numpy(dense), "mask_full": torch.ones(500, dtype=torch.bool)}
    held = np.ones(500, bool)
    if kind == "legacy":
        held[::7] = False
        value["mask"] = torch.from_numpy(held)
    if kind == "tiny":  # beneath float16
        value["feat"] = value["feat"].float() + 1e-12
    torch.save(value, path, _use_new_zipfile_serialization=kind != "old")
    empty = int((held & ~seen).sum())
    for _ in range(2):  # opened anew for each step of a training
        with pytest.warns(ReadAs, match=rf"{path.name}: {empty} of {held.sum()} points have features of zeros alone"):
            features = FusedFeatures(path, 500)
        assert (features.named, features.empty) == (held.sum(), empty)
        rows, have = features.rows(np.arange(500))
        assert np.array_equal(have, seen & held) and np.array_equal(features.seen, have)
        assert np.array_equal(rows, np.where(have[:, None], dense, 0))
    with pytest.warns(ReadAs):
        streamed = StreamedFeatures((path,), 500)
        assert streamed.empty == empty and np.array_equal(streamed.seen(), seen & held)
        assert np.array_equal(streamed.rows(np.arange(500))[1], seen & held)


def test_zeros_where_the_legacy_mask_says_so_are_no_news(fused):
    path, dense, seen = fused
    every = torch.ones(500, dtype=torch.bool)
    torch.save({"feat": torch.from_numpy(dense), "mask": torch.from_numpy(seen), "mask_full": every}, path)
    features = FusedFeatures(path, 500)
    assert features.empty == 0 and np.array_equal(features.seen, seen)


def test_features_of_zeros_alone_are_refused(fused):
    path, _, seen = fused
    torch.save({"feat": torch.zeros(int(seen.sum()), 8).half(), "mask_full": torch.from_numpy(seen)}, path)
    with pytest.raises(
        DataError, match=rf"{path.name}: feat must hold features, found zeros alone in all {seen.sum()}"
    ):
        FusedFeatures(path, 500)


def test_a_file_without_a_seen_point_is_told(fused):
    path, _, _ = fused
    torch.save({"feat": torch.zeros(0, 8).half(), "mask_full": torch.zeros(500, dtype=torch.bool)}, path)
    with pytest.warns(UserWarning, match=rf"{path.name}: names none of the 500 points as seen: no features"):
        features = FusedFeatures(path, 500)
    assert not features.seen.any() and not features.rows(np.arange(500))[1].any()


def test_a_file_is_probed_once(fused, monkeypatch):
    path, _, seen = fused
    FusedFeatures(path, 500)
    monkeypatch.setattr(fused_features, "_filled", lambda *_: pytest.fail("read again"))
    assert np.array_equal(FusedFeatures(path, 500).seen, seen)


def test_only_the_rows_asked_for_are_read(fused):
    """Rows that are broken on disk do no harm until they are asked for."""
    path, dense, seen = fused
    broken = dense[seen].copy()
    broken[5] = np.nan
    torch.save({"feat": torch.from_numpy(broken), "mask_full": torch.from_numpy(seen)}, path)
    features, where = FusedFeatures(path), np.flatnonzero(seen)
    rows, _ = features.rows(np.delete(where, 5))
    assert np.array_equal(rows, np.delete(dense[seen], 5, axis=0))
    with pytest.raises(DataError, match=rf"{NAME}_0.pt: feat holds nan, inf"):
        features.rows(where[5:6])


def test_feature_files(tmp_path: Path, fused):
    folder = fused[0].parent
    assert feature_files(folder, NAME) == (fused[0],)
    for number in (1, 2, 10):
        (folder / f"{NAME}_{number}.pt").touch()
    with pytest.raises(DataError, match=rf"{NAME}_3.pt: fused features not found, but later"):
        feature_files(folder, NAME)
    (folder / f"{NAME}_10.pt").unlink()
    assert [path.name[-4] for path in feature_files(folder, NAME)] == ["0", "1", "2"]
    (folder / f"{NAME}_01.pt").touch()
    with pytest.raises(DataError, match=rf"{NAME}_\w+.pt: a second file of number 1, beside {NAME}"):
        feature_files(folder, NAME)
    (folder / f"{NAME}_01.pt").unlink()
    assert feature_files(folder, "scene0011_0") == ()  # another scene's name is no prefix match
    (folder / f"{NAME}.pt").touch()
    with pytest.raises(DataError, match=r"mixed layouts, holds both"):
        feature_files(folder, NAME)
    with pytest.raises(DataError, match=r"nowhere: folder of fused features not found"):
        feature_files(tmp_path / "nowhere", NAME)


HALF, MASK = torch.ones(3, 4, dtype=torch.float16), torch.tensor([True, False, True, True])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((HALF, MASK), r"expected a dictionary of feat, mask_full.*found tuple"),
        ({"feat": HALF}, r"expected a dictionary.*found \['feat'\]"),
        ({"feat": HALF.int(), "mask_full": MASK}, r"feat must be float16 or float32 \[M, C\], found int32 \[3, 4\]"),
        ({"feat": [1.0], "mask_full": MASK}, r"feat must be .* found list"),
        ({"feat": HALF[..., None].repeat(1, 1, 2), "mask_full": MASK}, r"feat must be .* found float16 \[3, 4, 2\]"),
        ({"feat": HALF[0], "mask_full": MASK}, r"feat must be .* found float16 \[4\]"),
        ({"feat": HALF, "mask_full": MASK.int()}, r"mask_full must be bool \[N\], found int32 \[4\]"),
        ({"feat": HALF[:2], "mask_full": MASK}, r"feat holds 2 rows, expected one for each of the 3 points"),
        ({"feat": HALF, "mask": MASK, "mask_full": MASK}, r"mask must be bool \[3\] or row numbers below 3"),
        ({"feat": HALF, "mask": torch.tensor([3]), "mask_full": MASK}, r"mask must be bool \[3\] or row numbers"),
    ],
)
def test_broken_feature_files_are_named(tmp_path: Path, value: object, message: str):
    torch.save(value, tmp_path / "bad_0.pt")
    with pytest.raises(DataError, match=rf"bad_0.pt: {message}"):
        FusedFeatures(tmp_path / "bad_0.pt")


def test_truncated_and_changed_feature_files(fused):
    path = fused[0]
    features = FusedFeatures(path)
    content = path.read_bytes()
    torch.save({"feat": HALF, "mask_full": MASK}, path)
    with pytest.raises(DataError, match=r"feat was \[\d+, 8\] when opened, is now \[3, 4\]"):
        features.rows(np.arange(500))
    for keep in (0, 2, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=rf"{path.name}: not a readable file of plain arrays"):
            FusedFeatures(path)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}: torch file not found"):
        FusedFeatures(path)


@pytest.mark.parametrize("index", [np.array([500]), np.array([-1]), np.array([0.5]), np.zeros((2, 2), np.int64)])
def test_bad_indices(fused, index: np.ndarray):
    with pytest.raises(InputError, match=r"index must"):
        FusedFeatures(fused[0]).rows(index)


def test_written_features_are_read_again(tmp_path: Path, rng: np.random.Generator):
    """Bit by bit in float16, 0 where unseen, whatever stood there; also where all or no points are seen."""
    for share in (0.4, 0.0, 1.0):
        seen = rng.random(300) < share
        dense = rng.normal(size=(300, 7)).astype(np.float32)
        dense[~seen] = np.nan  # never looked at
        features = FusedFeatures(write_fused(tmp_path / f"{NAME}_0.pt", dense, seen), 300)
        rows, have = features.rows(np.arange(300))
        assert np.array_equal(have, seen) and np.array_equal(features.seen, seen)
        assert np.array_equal(rows, np.where(seen[:, None], dense, 0).astype(np.float16))
    assert feature_files(tmp_path, NAME) == (tmp_path / f"{NAME}_0.pt",)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}_0.pt"]  # nothing temporary is left


@pytest.mark.parametrize("kind", [torch.Tensor.bfloat16, torch.Tensor.double, torch.Tensor.requires_grad_])
def test_tensors_are_written_like_arrays(tmp_path: Path, rng: np.random.Generator, kind):
    dense, seen = torch.from_numpy(rng.integers(-99, 99, (20, 3)).astype(np.float32)), rng.random(20) < 0.5
    features = FusedFeatures(write_fused(tmp_path / "a_0.pt", kind(dense.clone()), torch.from_numpy(seen)))
    assert np.array_equal(features.rows(np.arange(20))[0], np.where(seen[:, None], dense, 0))


def test_written_files_are_what_openscene_reads(tmp_path: Path, rng: np.random.Generator):
    """Two keys and tensors alone, unpickled without code; scattered as OpenScene's loader scatters val features."""
    seen, dense = rng.random(50) < 0.5, rng.normal(size=(50, 4)).astype(np.float16)
    value = torch.load(write_fused(tmp_path / "a_0.pt", dense, seen), weights_only=True)
    assert list(value) == ["feat", "mask_full"]
    assert value["feat"].dtype == torch.float16 and value["mask_full"].dtype == torch.bool
    whole = torch.zeros((50, value["feat"].shape[1]), dtype=value["feat"].dtype)
    whole[value["mask_full"]] = value["feat"]
    assert np.array_equal(whole.numpy(), np.where(seen[:, None], dense, 0))


@pytest.mark.parametrize(
    ("name", "features", "seen", "message"),
    [
        ("a.npz", np.ones((3, 2)), np.ones(3, bool), r"must end in \.pt, found a\.npz"),
        ("a.pt", np.ones(3), np.ones(3, bool), r"features must be float \[P, C\], found float64 \[3\]"),
        ("a.pt", np.ones((3, 2), int), np.ones(3, bool), r"features must be float \[P, C\], found int64"),
        ("a.pt", np.ones((3, 2)), np.ones(3), r"seen must be bool \[3\], found float64 \[3\]"),
        (
            "a.pt",
            [[1.0], [1.0, 2.0]],
            np.ones(2, bool),
            "features must be an array of numbers, found rows of different",
        ),
        ("a.pt", np.ones((3, 2)), np.ones(4, bool), r"seen must be bool \[3\], found bool \[4\]"),
        ("a.pt", np.full((3, 2), 1e5), np.ones(3, bool), r"features hold nan, inf or values beyond float16"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, features: np.ndarray, seen: np.ndarray, message: str):
    """Refused before anything is written: the older file stays."""
    (tmp_path / name).write_text("older")
    with pytest.raises(InputError, match=message):
        write_fused(tmp_path / name, features, seen)
    assert (tmp_path / name).read_text() == "older"
