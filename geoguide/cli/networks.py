"""Commands on the packaged networks: pretrain and probe."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from geoguide.cli.arguments import Device, Seed, Steps, Within, Workers, output_file, output_folder, refuse_unread
from geoguide.cli.common import GO_ON, START_AGAIN, Dataset, Positional, named_splits
from geoguide.datasets.config import Edition
from geoguide.paths import checkpoints_root, results_root, runs_root


@dataclass(frozen=True)
class Pretrain:
    """Make a packaged network again on generated worlds, and write its weights and loss curves.

    sonata-mini...: backbones, pretrained without labels; masks-mini: proposes instance masks, trained on annotated
    instances without class names; the others: 2D models, trained on rendered images (sas-mini: two of them, fused by
    measured capability). An interrupted run goes on when the same command is run again.
    """

    model: Positional[
        Literal[
            "sonata-mini",
            "sonata-mini-tenth",
            "sonata-mini-5cm",
            "sonata-mini-streets",
            "lseg-mini",
            "openseg-mini",
            "sas-mini",
            "lseg-streets-mini",
            "masks-mini",
        ]
    ] = "sonata-mini"
    steps: Steps = None
    """Length of the schedule; default the packaged network's."""
    until: Steps = None
    """Stop at this step of the schedule (and go on later)."""
    seed: Seed = 0
    out: Path | None = None
    """Weights (sas-mini: a .json); default in the folder of runs. The curves go beside them as .json."""
    run_dir: Path | None = None
    """Where the checkpoint lies; default checkpoints/ in the folder of runs."""
    rooms: Path | None = None
    """Of a backbone: folder of the rooms that are none of mini-ScanNet, default <data>/mini-scannet-pretrain; or of the
    streets, default <data>/mini-nuscenes-pretrain."""
    device: Device = "auto"
    workers: Workers = None

    interrupted = GO_ON

    def run(self) -> None:
        """Pretrain, and print where the weights lie."""
        backbone = self.model.startswith("sonata-mini")
        if not backbone:
            refuse_unread(self, {"rooms", "device", "workers"}, "backbones")
        suffix, beside = (".json", ()) if self.model == "sas-mini" else (".safetensors", ("id", "step", "history"))
        out = output_file(self.out, runs_root() / f"{self.model}{suffix}", suffix, summary=beside)
        run_dir = output_folder(self.run_dir or checkpoints_root(), "--run-dir")
        if backbone:
            from geoguide.pretraining.config import PACKAGED
            from geoguide.pretraining.run import pretrain_and_save

            if self.rooms is not None:
                output_folder(self.rooms, "--rooms")
            config = self._scheduled(PACKAGED[self.model])
            used: dict[str, Any] = {"rooms": self.rooms, "device": self.device, "workers": self.workers}
            result = pretrain_and_save(config, out, run_dir=run_dir, until=self.until, **used)
        elif self.model == "masks-mini":
            from geoguide.pretraining.masks.config import ProposerTrainConfig
            from geoguide.pretraining.masks.loop import train_and_save

            config = self._scheduled(ProposerTrainConfig())
            result = train_and_save(config, out, run_dir=run_dir, until=self.until)
        else:
            from geoguide.pretraining.images.run import make_model

            print(make_model(self.model, out, run_dir, steps=self.steps, until=self.until, seed=self.seed))
            return
        last = result.history[-1]["total"] if result.history else float("nan")
        print(f"{out}: step {result.step} of {config.steps}, loss {last:.3f}")

    def _scheduled(self, config: Any) -> Any:
        """The config of a training with the seed and the length that are asked for."""
        return replace(config, seed=self.seed, **({} if self.steps is None else {"steps": self.steps}))


@dataclass(frozen=True)
class Probe:
    """Measure what a backbone's frozen features know, and add the row to a JSON record.

    A linear probe is fitted to the labels of the training scenes and chosen on the validation scenes.
    """

    backbone: Positional[
        Literal[
            "sonata-mini",
            "sonata-mini-tenth",
            "sonata-mini-5cm",
            "sonata-mini-streets",
            "random",
            "descriptors",
            "supervised",
            "sonata-mini+descriptors",
            "sonata-mini-tenth+descriptors",
            "sonata-mini-5cm+descriptors",
            "sonata-mini-streets+descriptors",
        ]
    ]
    """random: sonata-mini's network untrained; supervised: the same network trained on the labels of rooms."""
    dataset: Dataset = "scannet"
    data: str = "mini"
    """mini (generated), or the folder of the real dataset."""
    edition: Edition = "small"
    """Of mini data: small or large."""
    first: tuple[int, int, int] | None = None
    """Only so many scenes of train, val and test, the first of each."""
    train: str | None = None
    """The training scenes by name, separated by commas, or a file with a name a line."""
    val: str | None = None
    """Likewise the scenes that choose the probe's strength."""
    test: str | None = None
    """Likewise the scenes that are only reported; without any of the three the dataset's own splits."""
    weights: Path | None = None
    """For mini backbones: weights of `geoguide pretrain`; default the packaged ones."""
    steps: Annotated[int, Within(1)] = 400
    """For supervised: training steps."""
    out: Path | None = None
    """Default: backbones/probe.json in the folder of results (results/ of a clone)."""

    interrupted = START_AGAIN

    def run(self) -> None:
        """Measure, and print the row."""
        from geoguide.benchmarks import benchmark
        from geoguide.pipeline.config import ExperimentConfig
        from geoguide.pretraining.probe_record import add_row

        if not self.backbone.startswith("sonata-mini"):
            refuse_unread(self, {"weights"}, "the mini backbones")
        if self.backbone != "supervised":
            refuse_unread(self, {"steps"}, "the backbone supervised")
        there, splits = benchmark(self.dataset), named_splits(self.train, self.val, self.test)
        if self.data != "mini":
            refuse_unread(self, {"edition"}, "mini data")
        scenes = there.generated_data(self.edition) if self.data == "mini" else there.real_data(self.data, None)
        config = ExperimentConfig(data=replace(scenes, first=self.first, splits=splits))
        out = output_file(self.out, results_root() / "backbones" / "probe.json", ".json")
        row = add_row(self.backbone, out, weights=self.weights, steps=self.steps, config=config)
        means = f"linear mIoU {row['linear']['test_miou']:.3g}, kNN mIoU {row['knn']['test_miou']:.3g}"
        across = row["instance_auc"]["test"]["objects_across"]
        alike = "" if across is None else f", AUC of objects across scenes {across:.3g}"
        print(f"{out}: {self.backbone}, test scenes: {means}{alike}")
