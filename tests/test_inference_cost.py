"""Claim C8: what is exported after training with the three modules is what is exported after training without them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import geoguide
from geoguide.backbones import BackboneConfig
from geoguide.model import GeoGuideModel, from_fit
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.students.adapter import Adapter, AdapterConfig


@pytest.fixture(scope="module")
def exported(
    tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Both models' files."""
    files, folder = {}, tmp_path_factory.mktemp("exported")
    for name, modules in (("with modules", tiny.objective.modules), ("adapter only", ())):
        config = tiny.replace(name=name, objective__modules=modules, train__steps=5)
        fitted = fit(config, train=tiny_scenes["train"], val=[], device="cpu", progress=False)
        files[name] = from_fit(fitted, config).save(folder / f"{name}.safetensors")
    return files


def described(path: Path) -> tuple[dict[str, tuple[str, list[int]]], dict]:
    """Name, type and shape of every tensor, and the metadata."""
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        shapes = {name: (part.get_dtype(), list(part.get_shape())) for name, part in slices.items()}
        return shapes, json.loads(file.metadata()["geoguide"])


def test_the_exported_graphs_are_identical(exported: dict[str, Path]) -> None:
    first, second = (geoguide.load(path) for path in exported.values())
    assert first.graph() == second.graph()
    assert not torch.equal(first.adapter.last.weight, second.adapter.last.weight)  # two trainings, not one


def test_the_exported_files_hold_the_same_tensors(exported: dict[str, Path]) -> None:
    (first, about), (second, other) = (described(path) for path in exported.values())
    assert first == second and len(first) > 4
    names = [about.pop("origin"), other.pop("origin")]
    assert about == other and "with modules" in names[0] and "adapter only" in names[1]
    with_, without = (path.stat().st_size for path in exported.values())
    assert abs(with_ - without) <= 8  # the name of the experiment, in a header of whole words


def test_another_network_is_another_graph() -> None:
    def made(**options: object) -> GeoGuideModel:
        config = AdapterConfig(**options)
        adapter = Adapter(6, 5, config).eval().requires_grad_(False)
        return GeoGuideModel(adapter, config, BackboneConfig("descriptors"), "a {}", "untrained")

    narrow, wide = made(hidden=(4,)), made(hidden=(4, 4))
    assert narrow.graph() == made(hidden=(4,)).graph() != wide.graph()
    assert narrow.graph() != made(hidden=(4,), norm="none").graph()
