"""Pretraining on streets: the sweeps alone are read, and what is left is a backbone that says where it comes from."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from geoguide import backbones
from geoguide.datasets import nuscenes
from geoguide.datasets.formats.nuscenes_tables import read_tables
from geoguide.errors import ConfigError
from geoguide.pretraining.config import PACKAGED, NetworkConfig, PretrainConfig
from geoguide.pretraining.run import pretrain_and_save
from geoguide.pretraining.streets import make_streets, read_sweeps
from geoguide.superpoints import scene_normals
from geoguide.worlds.streets.official import STREETS_VERSION

STREETS = PACKAGED["sonata-mini-streets"]
TINY = replace(
    STREETS,
    network=NetworkConfig(
        voxel=0.4, enc_depths=(1, 1), enc_channels=(8, 16), enc_num_head=(1, 2), enc_patch_size=(32, 32), stride=(2,),
        concat=1,
    ),
    distillation=replace(STREETS.distillation, hidden=16, bottleneck=8, prototypes=12, matches=100),
    rooms=1, steps=3, log_every=1, checkpoint_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    root = tmp_path_factory.mktemp("streets")
    return root, make_streets(TINY, root, workers=1)


def test_sweeps_are_read_without_labels_and_images_and_as_the_benchmark_has_them(street, tmp_path):
    root, folders = street
    tables = read_tables(root, STREETS_VERSION)
    samples = nuscenes.list_samples(tables, folders[0].name)
    scenes = [nuscenes.load_sample(tables, sample) for sample in samples]
    bare = shutil.copytree(root, tmp_path / "bare")
    for name in ("lidarseg", "samples/CAM_FRONT", "samples/CAM_BACK"):
        shutil.rmtree(bare / name)
    clouds = [cloud for folder in folders for cloud in read_sweeps(bare / folder.relative_to(root))]
    assert len(clouds) == len(scenes) > 1
    for cloud, scene in zip(clouds, scenes, strict=True):
        assert np.array_equal(cloud.points, scene.points) and np.array_equal(cloud.colors, scene.colors)
        assert np.array_equal(cloud.normals, scene_normals(scene))


def test_a_backbone_of_streets(street, tmp_path):
    root, folders = street
    out = tmp_path / "streets.safetensors"
    made = pretrain_and_save(TINY, out, rooms=root, device="cpu", workers=1, progress=False)
    assert made.step == 3 and np.isfinite(made.history[-1]["total"])
    backbone = backbones.load("sonata-mini-streets", weights=out)
    assert backbone.name == "sonata-mini-streets" and backbone.rooms == ((STREETS.room_seed, "train", 0),)
    scene = nuscenes.load_sample(
        tables := read_tables(root, STREETS_VERSION), nuscenes.list_samples(tables, folders[0].name)[0]
    )
    features = backbone.encode(scene)
    assert features.shape == (len(scene.points), 24) and np.isfinite(features).all()


def test_rooms_of_a_benchmark_are_no_streets():
    with pytest.raises(ConfigError, match="benchmark_rooms must be 0 on streets, found 28"):
        PretrainConfig(world="streets")
    with pytest.raises(ConfigError, match="pretraining.world must be one of rooms, streets, found 'sea'"):
        PretrainConfig(world="sea")  # ty: ignore[invalid-argument-type]
