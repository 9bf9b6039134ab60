"""Commands on one experiment: train, evaluate, and lift 2D features."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from geoguide.cli.arguments import (
    Device,
    Model,
    Seed,
    Steps,
    Within,
    Workers,
    output_file,
    output_folder,
    refuse_unread,
)
from geoguide.cli.common import (
    GO_ON,
    START_AGAIN,
    Place,
    Positional,
    loaded,
)
from geoguide.errors import ConfigError
from geoguide.paths import checkpoints_root, runs_root

if TYPE_CHECKING:
    from geoguide.pipeline.config import ExperimentConfig


@dataclass(frozen=True)
class Train(Place):
    """Train one experiment and write its model; with --record its record too, as `replicate` does of whole tables."""

    preset: Literal["as-written", "works-best", "lineage"] = "works-best"
    drop: str = "none"
    """Modules to leave out: none, usd, imr, iirc, or several joined by +."""
    seed: Seed = 0
    backbone: str | None = None
    """Frozen 3D features; default the packaged sonata-mini on mini data, sonata on real data."""
    steps: Steps = None
    """Of the training; default the experiment's own on mini data, twenty epochs of ScanNet on real data."""
    masks: str = "geometry"
    """Instance masks: geometry, learned (a packaged network), learned+geometry, annotation (an oracle), or a folder of
    Mask3D's output or of a submission to ScanNet's benchmark, with an index SCENE.txt for each scene."""
    augment: bool = False
    """Let the frozen network read whole scenes, augmented, anew in every step, in place of features that were computed
    once: much slower, and better (chapter 01). Not for joined backbones."""
    out: Path | None = None
    """Default: model.safetensors in the folder of runs (runs/ of a clone)."""
    device: Device = "auto"
    workers: Workers = None
    devices: Annotated[int, Within(1)] = 1
    """Processes that train together on each machine, one for each GPU where there are any (extra `devices`)."""
    nodes: Annotated[int, Within(1)] = 1
    """Machines. Slurm starts the command for each process (srun --ntasks-per-node=DEVICES); else it is started once
    on each machine, with MASTER_ADDR, MASTER_PORT and NODE_RANK."""
    batches_per_step: Annotated[int | None, Within(1)] = None
    """Scenes whose gradients a step averages: a multiple of devices times nodes, which share them out; default that
    product. It belongs to the experiment: one process with as many learns the same."""
    precision: Literal["auto", "float32", "bf16", "float64"] = "auto"
    """auto: bf16 on a GPU, else float32."""
    record: bool = False
    """Also score the test scenes and write the record of the experiment, as `replicate` does of its rows."""

    interrupted = GO_ON

    def run(self) -> int:
        """Train, and print where the model lies and how it does on the validation scenes.

        Returns:
            Exit code: 0, or 2 in a further process of the training that saw another one end.
        """
        from geoguide.backbones.config import identity
        from geoguide.experiments import pools
        from geoguide.experiments.run import making_row, run
        from geoguide.model import from_fit
        from geoguide.pipeline.ranks import LostRankError, launch
        from geoguide.pipeline.student import student_kind
        from geoguide.pipeline.train import fit

        if self.record:
            refuse_unread(self, {"precision"}, "trainings without --record")
        config = self.experiment()
        if student_kind(config).names_backbone:
            identity(config.backbone)  # missing weights are told before scenes are made
        output_folder(checkpoints_root(), "$GEOGUIDE_DATA")
        out = output_file(self.out, runs_root() / "model.safetensors", ".safetensors")
        ranks = launch(self.devices, self.nodes, self.device)
        if ranks.size == 1:
            pools.prepare_data(config, self.workers, self.device)
        options: dict[str, Any] = {"ranks": ranks, "precision": self.precision}
        try:
            with making_row(config) if self.record and ranks.first else contextlib.nullcontext():
                record = run(config, device=self.device, ranks=ranks) if self.record else None
            # Where there is a record, this finds the training's end.
            fitted = fit(config, device=self.device, run_dir=checkpoints_root(), **options)
        except LostRankError:
            if ranks.speaks():
                raise
            return 2  # another process says so
        if not ranks.first:
            return 0
        path = from_fit(fitted, config).save(out)
        state = {True: "converged", False: "NOT converged", None: "whether it converged is not known"}[fitted.converged]
        miou = fitted.history[-1].get("val_miou")
        watched = "no validation scenes" if miou is None else f"validation mIoU {miou:.1f}"
        if record is not None:
            print(f"{path}: {config.name}, {watched} ({state})")
            print(f"{record.file}: test mIoU {record.metrics.miou:.2f}")
            return 0
        print(f"{path}: {config.name}, {watched} ({state}); {fitted.waited:.1%} of the step time waited for scenes")
        return 0

    def experiment(self) -> "ExperimentConfig":
        """Make the config of the training.

        Returns:
            The experiment.

        Raises:
            ConfigError: So many processes cannot share it, `augment` with joined backbones, or as `place`.
        """
        from geoguide.experiments import presets
        from geoguide.instances.scene_masks import parse_masks

        self.need_features("a training")
        processes = self.devices * self.nodes
        plain = presets.preset(self.preset, drop=self.drop, seed=self.seed, edition=self.edition)
        config = self.place(presets.in_whole_rooms(plain) if self.augment else plain)
        if self.augment:
            from geoguide.students.point_transformer import network_of

            if len(config.backbone.parts) > 1:
                raise ConfigError(f"--augment needs a backbone that is one network, found {config.backbone.name}")
            network_of(config.backbone, "pretrained")  # what is none is refused before anything is prepared
        batches = processes if self.batches_per_step is None else self.batches_per_step
        config = config.replace(masks=parse_masks(self.masks), train__batches_per_step=batches)
        config.train.check_processes(processes)
        return config


@dataclass(frozen=True)
class Evaluate(Place):
    """Score a trained model on a split under a stated protocol; another dataset than its own is cross-domain."""

    model: Positional[Model] = "mini"
    split: Literal["val", "test"] = "test"
    mode: Literal["distill", "fusion", "ensemble"] | None = None
    """Default: the protocol's."""
    device: Device = "auto"
    workers: Workers = None

    interrupted = START_AGAIN

    def run(self) -> None:
        """Print the IoU of every class, and the means."""
        from geoguide.experiments.needs import fitting_preparers
        from geoguide.experiments.run import describe
        from geoguide.pipeline.config import ExperimentConfig
        from geoguide.pipeline.evaluate import evaluate
        from geoguide.pipeline.prepare import prepare_split
        from geoguide.pipeline.protocols import PROTOCOLS

        model = loaded(self.model, self.weights, self.device)
        if self.text not in (None, model.text.encoder):
            raise ConfigError(f"--text must be {model.text.encoder}, the text space of {self.model}, found {self.text}")
        mode = self.mode or (PROTOCOLS[self.protocol].mode if self.protocol else "distill")
        if mode != "distill":
            self.need_features(f"mode {mode}")
        asked = self.data == "mini" or self.features != Place.features or mode != "distill"
        place = self if asked else replace(self, features="none")  # points and text are all that is needed
        if self.data != "mini":
            place = replace(place, text=model.text.encoder)
        config = place.place(ExperimentConfig()).replace(backbone=model.backbone, text=model.text)
        config.check_space()
        config = config.replace(protocol__mode=mode)
        workers = self.workers or fitting_preparers(config, self.device)
        scenes = prepare_split(config, self.split, workers=workers, device=self.device)
        learned = [scene.name for scene in scenes if scene.fingerprint in model.scenes.values()]
        scored = describe(evaluate(config, model.student(), scenes=scenes), config.data.label_set)
        for name, value in scored["iou"].items():
            print(f"{name:<16} {'absent' if value is None else f'{value:5.1f}'}")
        where = f"{config.data.dataset} {self.split}, {config.data.label_set}, {config.protocol}"
        print(f"mIoU {scored['miou']:.2f}  mAcc {scored['macc']:.2f}  ({where})")
        if learned:
            print(f"{len(learned)} of the {len(scenes)} scenes are among those that the model was trained on")


@dataclass(frozen=True)
class Lift(Place):
    """Lift the 2D model's features to the points of every scene, and write them as files of OpenScene's format.

    A folder of them is what --features of real data and OpenScene's own code read.
    """

    out: Path = Path("features")
    """The folder."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    workers: Annotated[int, Within(1)] = 1
    """Processes, each of which takes one scene after another, and holds a 2D model of its own."""

    interrupted = GO_ON

    def run(self) -> None:
        """Write the files, and print how many.

        Raises:
            DataError: There is nothing to lift in any scene.
        """
        from geoguide.errors import DataError
        from geoguide.pipeline.config import ExperimentConfig
        from geoguide.pipeline.export import export_features
        from geoguide.pipeline.prepare import scene_sources

        refuse_unread(self, {"weights", "protocol", "prompt"}, "`train` and `evaluate`")
        self.need_features("lifting")
        config, out = self.place(ExperimentConfig()), output_folder(self.out, "--out")
        found = {source.name: source for split in self.splits for source in scene_sources(config.data, split)}
        written = export_features(found.values(), config, out, workers=self.workers)
        if found and not written:
            none = f"none of {len(found)} scenes has any that is read"
            raise DataError(f"{config.data.folder}: no images to lift: {none}")
        print(f"{out}: features of {len(written)} scenes; {len(found) - len(written)} have none")
