"""The `geoguide` command. Bad input ends with exit code 2 and one line; heavy imports wait until needed.

Every exit code is listed in `geoguide.guard` and by `geoguide --help`.
"""

import contextlib
import functools
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from geoguide import __version__
from geoguide.arguments import (
    DepthScale,
    Device,
    MaxDepth,
    Seed,
    Steps,
    Unit,
    Up,
    Voxel,
    Within,
    Workers,
    named_scenes,
    need_working_folder,
    output_file,
    output_folder,
    read_arguments,
    refuse_unread,
)
from geoguide.benchmarks import NAMES, benchmark_of
from geoguide.datasets.config import GENERATED, DataConfig, Edition, Splits
from geoguide.errors import ConfigError, InputError
from geoguide.guard import EXIT_CODES, guarded
from geoguide.paths import checkpoints_root, clone, results_root, runs_root

Positional = tyro.conf.Positional
GO_ON = "run the same command again to go on"
Cached = Literal[
    "lifted", "kept", "geometry", "means", "superpoints", "masks", "scene", "frames", "text", "checkpoints"
]
READING = ("unit", "up", "depth_scale", "max_depth")  # options of whatever reads recordings
CLEANING = {"kind", "all", "older_than", "dry_run"}  # options of `data clean`
START_AGAIN = "nothing is half-written; the same command starts again"
if TYPE_CHECKING:  # the choices are the registry's, which a type checker cannot know
    from geoguide.model import GeoGuideModel
    from geoguide.own_scan import Scan
    from geoguide.pipeline.config import ExperimentConfig

    Dataset = GeneratedDataset = str
else:
    Dataset = Literal[NAMES]
    GeneratedDataset = Literal[tuple(GENERATED + name for name in NAMES)]


@dataclass(frozen=True)
class Data:
    """Make the embedded benchmark, check a dataset folder, or clean the cache.

    make: generate mini-ScanNet, mini-Matterport3D or mini-nuScenes (in the benchmarks' own layouts); what is finished
    is kept, so it resumes. Writes a data card beside the data (croissant.json).
    check: say which dataset and layout a folder is (ScanNet, Matterport3D, nuScenes, OpenScene's published folders, or
    your own RGB-D recordings, read as --unit, --up, --depth-scale and --max-depth say), what of it is complete, missing
    or broken, file by file, and what can be run with it.
    clean: remove features that commands keep to be faster and compute again where they are missing (see --kind), and
    say what was freed and what stays. Generated data, models, records and files of others are never removed.
    """

    action: Positional[Literal["make", "check", "clean"]]
    path: Positional[Path | None] = None
    """Folder; default data/ and the name of the dataset."""
    dataset: GeneratedDataset = "mini-scannet"
    edition: Edition = "small"
    """small: what the book generates; large: more scenes, and rooms that are harder to divide into objects."""
    rooms: tuple[int, int, int] | None = None
    """Rooms of mini-ScanNet to make: train, val, test; default 28 14 21, of the large edition 200 30 120."""
    houses: tuple[int, int, int] | None = None
    """Houses of mini-Matterport3D to make: train, val, test; default 8 3 6, of the large edition 40 8 20."""
    scenes: tuple[int, int, int] | None = None
    """Scenes of mini-nuScenes, four key frames each: train, val, test; default 15 10 10, of the large 120 20 60."""
    unit: Unit = None
    up: Up = None
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    sens: bool = False
    """Also write the frames of mini-ScanNet as ScanNet's own .sens recordings, for readers that know only those."""
    seed: Seed = 0
    workers: Workers = None
    kind: tuple[Cached, ...] = ()
    """What `clean` removes; default lifted kept geometry means: features of points and their means, nearly all of the
    bytes. frames: what 2D models said of images. checkpoints: of trainings, interrupted ones too."""
    all: bool = False
    """Let `clean` remove every kind."""
    older_than: Annotated[float, Within(0)] = 0
    """Days: `clean` leaves what was written since."""
    dry_run: bool = False
    """Only say what `clean` would remove."""

    interrupted = GO_ON

    def run(self) -> int:
        """Make or check the data, or clean the cache.

        Returns:
            Exit code: 0, or 1 where `check` finds a problem.
        """
        from geoguide.benchmarks.data_card import write_card
        from geoguide.benchmarks.scenes import generate, known_layouts

        if self.action == "clean":
            return self._clean()
        refuse_unread(self, CLEANING, "`data clean`")
        root = None if self.path is None else str(self.path)
        data = DataConfig(self.dataset, room_seed=self.seed, root=root, edition=self.edition)
        counted = {"rooms", "houses", "scenes"}
        if self.action == "check":
            refuse_unread(self, counted | {"sens", "seed", "workers"}, "`data make`")
            from geoguide.datasets.check import check_folder

            how = {name: getattr(self, name) for name in READING if getattr(self, name) is not None}
            return check_folder(data.folder, known_layouts(), how)
        refuse_unread(self, READING, "`data check`")
        world = benchmark_of(data).world
        others = counted - {world.unit} | (set() if world.recordings else {"sens"})
        refuse_unread(self, others, "another --dataset")
        output_folder(data.folder, "$GEOGUIDE_DATA" if self.path is None else "the folder of `data make`")
        counts = getattr(self, world.unit) or world.editions[self.edition]
        made = generate(replace(data, rooms=counts), self.workers)
        if self.sens and world.recordings:
            world.recordings(made)
        print(f"{world.titled(self.edition)} is complete in {made}; {write_card(data).name} describes it")
        return 0

    def _clean(self) -> int:
        """Clean the cache, and say what was freed."""
        from geoguide.pipeline.cleaning import LARGE, WHAT, clean

        refuse_unread(
            self, {field.name for field in fields(self)} - CLEANING - {"action"}, "`data make` and `data check`"
        )
        if self.all and self.kind:
            raise ConfigError("--all and --kind exclude each other")
        kinds = tuple(WHAT) if self.all else self.kind or LARGE
        for line in clean(kinds, older_than=self.older_than, dry_run=self.dry_run).lines():
            print(line)
        return 0


@dataclass(frozen=True)
class Place:
    """Which scenes, and whose 2D features."""

    dataset: Dataset = "scannet"
    data: str = "mini"
    """mini (generated), or the folder of the real dataset, in its official layout or as OpenScene published it."""
    edition: Edition = "small"
    """Of mini data: small, or large with more and harder scenes (`geoguide data make --edition large`)."""
    features: str = "OpenSeg-like"
    """A 2D model that looks at the images: transformers:NAME_OR_FOLDER, litert:FILE, open_clip:MODEL, mini:NAME, or
    your own code as own:MODULE:CALLABLE. Else mini: OpenSeg-like, LSeg-like or "persistent errors" (simulated); real
    data: the folder of OpenScene's fused features inside --data, or none (scenes that are only scored; what `evaluate`
    takes there unless --mode asks for 2D features)."""
    text: str | None = None
    """The text space, such as minilm or clip-vit-b32; default that of the 2D model, or of the features' width."""
    weights: str | None = None
    """Weights of the backbone that --backbone names, or of Sonata on real data; default packaged or the hub's."""
    protocol: Literal["strict", "openscene", "openscene-ensemble"] | None = None
    """How it is scored; default openscene on real data, and the book's own on mini data."""
    prompt: str | None = None
    """What class names are put into, "a {} in a scene"; several joined by |, or ensemble:imagenet or ensemble:short
    (CLIP's, extra clip): their mean. Default the protocol's; a trained model keeps it for words."""
    train: str | None = None
    """The training scenes by name, separated by commas, or a file with a name a line."""
    val: str | None = None
    """Likewise the scenes of the validation curve; none where others are named and these are not."""
    test: str | None = None
    """Likewise the scored scenes; without any of the three the dataset's own splits."""

    def place(self, config: "ExperimentConfig") -> "ExperimentConfig":
        """Bring an experiment to these scenes.

        Args:
            config: An experiment on generated rooms.

        Returns:
            The same experiment here.
        """
        from geoguide.experiments.placing import placed

        return placed(config, self.dataset, self.data, self.features, **self.options)

    def need_features(self, what: str) -> None:
        """Refuse --features none where that would be found out when every scene has been prepared.

        Args:
            what: What needs 2D features.

        Raises:
            ConfigError: None are asked for.
        """
        if self.features == "none":
            raise ConfigError(f"--features none: expected a 2D model or fused features, which {what} needs")

    @property
    def options(self) -> dict[str, Any]:
        """What `placing.placed` takes beside scenes and features, by name.

        Raises:
            ConfigError: A scene is named twice.
            DataError: A list of scenes cannot be read.
        """
        named = ("protocol", "prompt", "weights", "text", "backbone", "steps", "edition")
        held = {name: getattr(self, name) for name in named if hasattr(self, name)}
        return held | {"splits": _splits(self.train, self.val, self.test)}


def _splits(*names: str | None) -> Splits | None:
    """The scenes that --train, --val and --test name; None for the dataset's own splits."""
    return None if set(names) == {None} else Splits(*map(named_scenes, names))


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
    """auto, cpu, cuda or cuda:N."""
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

    model: Positional[str] = "mini"
    """A .safetensors file, or the name of a packaged model."""
    split: Literal["val", "test"] = "test"
    mode: Literal["distill", "fusion", "ensemble"] | None = None
    """Default: the protocol's."""
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""
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

        model = _loaded(self)
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


@dataclass(frozen=True)
class Replicate(Place):
    """Compute the records of a profile; records that are already there are kept unless --force.

    With `--profile main` those of the main table on any data.
    """

    profile: Literal[
        "all",
        "quick",
        "full",
        "studies",
        "main",
        "occlusion",
        "cross-domain",
        "protocols",
        "systems",
        "systems-elsewhere",
        "dose-response",
        "fixed-weight",
        "usd-parts",
        "quality",
        "longer",
        "worlds",
        "entire-networks",
        "whole-rooms",
        "ceilings",
        "regime",
        "large",
        "search",
        "ladder",
    ] = "all"
    """all: the small edition's tables. quick: one seed of the ablation, which `make book` verifies. full: every seed,
    and chapter 01. main: the main table on --dataset. regime and large: the tables of the large editions. studies,
    protocols, longer, search, dose-response, fixed-weight, usd-parts, quality: of chapter 07. entire-networks,
    whole-rooms, ladder: of 01. worlds: of 03. occlusion, systems, systems-elsewhere: of 04. cross-domain: of 06.
    ceilings: what limits the student. Chapter 09 has the hours of each."""
    backbone: str | None = None
    """Frozen 3D features of --profile main; default the packaged sonata-mini on mini data, sonata on real data."""
    steps: Steps = None
    """Of each training of --profile main; default the experiments' own."""
    force: bool = False
    workers: Workers = None
    engine: Literal["pool", "snakemake"] = "pool"
    """pool: worker processes of this machine; snakemake: also clusters, see workflow/profiles in the repository."""
    passed: Positional[tuple[str, ...]] = ()
    """Options of Snakemake, after `--`: such as -- --profile workflow/profiles/slurm."""
    plan: Path | None = None
    """Run nothing; write what is to be made to this file (.json), which workflow/Snakefile and `geoguide grid` read."""

    interrupted = GO_ON

    def run(self) -> None:
        """Run what has no record, write the README's results, and print how many records there are."""
        from geoguide.experiments import grid, pools, profiles
        from geoguide.experiments.records import need_place_for_records
        from geoguide.report.readme import update_readme

        if self.engine == "pool":
            refuse_unread(self, {"passed"}, "--engine snakemake")
        if self.plan is not None or self.engine != "pool":
            refuse_unread(self, {"force"}, "--engine pool")
        if self.profile == "main":
            self.need_features("the main table")
            configs = profiles.main_table(self.dataset, self.data, self.features, **self.options)
        else:
            refuse_unread(self, {field.name for field in fields(Place)} | {"backbone", "steps"}, "--profile main")
            configs = profiles.profile(self.profile)
        if self.data == "mini" and self.plan is None:
            need_place_for_records()
        if self.plan is not None:
            grid.write_plan(self.plan, configs)
            print(f"{self.plan}: {len(configs)} rows")
            return
        if self.engine == "snakemake":
            done = grid.run_grid(grid.plan_path(self.profile, configs), configs, self.workers, self.passed)
        else:
            done = pools.run_all(configs, workers=self.workers, force=self.force)
        if self.engine == "pool" and clone() is not None:
            update_readme()
        print(f"{len(done)} records in {results_root()}")


@dataclass(frozen=True)
class Grid:
    """Take one step of a plan (`geoguide replicate --plan`): what the jobs of workflow/Snakefile call.

    data: generate a data set. scenes: prepare the scenes that rows share. record: train and score one row. tables:
    write the records as a table, and, in a clone with its own results, those of the README.
    """

    step: Positional[Literal["data", "scenes", "record", "tables"]]
    plan: Positional[Path]
    key: Positional[str | None] = None
    """Of data the manifest, of scenes their key, of a record the hash of its config."""
    workers: Annotated[int, Within(1)] = 1
    """Processes of `data` and `scenes`."""

    interrupted = GO_ON

    def run(self) -> None:
        """Take the step."""
        from geoguide.experiments import grid

        held = grid.read_plan(self.plan)
        if (self.key is None) != (self.step == "tables"):
            raise ConfigError(f"grid {self.step} takes {'no' if self.key else 'a'} key of the plan")
        grid.enter(held)
        if self.step == "data":
            grid.make_data(held, str(self.key), self.workers)
        elif self.step == "scenes":
            grid.prepare_scenes(held, str(self.key), self.workers)
        elif self.step == "record":
            grid.run_row(held, str(self.key))
        else:
            print(f"{held['table']}: {grid.write_table(held)} records")
            top = clone()
            if top is not None and Path(held["results"]) == top / "results":
                from geoguide.report.readme import update_readme

                update_readme()


@dataclass(frozen=True)
class Verify:
    """Run a profile again and compare with the committed records; exit 1 if a row lies outside the tolerance."""

    profile: Literal["quick", "full"] = "quick"
    report: Path | None = None
    """Default: verify-PROFILE.json in the folder of runs (runs/ of a clone)."""
    workers: Workers = None
    report_only: bool = False
    """Exit 0 whatever the comparison says; the report holds the verdict."""

    interrupted = START_AGAIN

    def run(self) -> int:
        """Compute the rows again, compare them and write the report.

        Returns:
            Exit code: 0, or 1 where a row lies outside the tolerance.
        """
        from geoguide.experiments.verify import verify

        report = output_file(self.report, runs_root() / f"verify-{self.profile}.json", ".json", option="--report")
        result = verify(self.profile, workers=self.workers, report=report)
        for row in result["rows"]:
            mark = "ok " if row["within"] else "OUT"
            print(f"{mark} {row['name']:<28} {row['committed_miou']:6.2f} -> {row['fresh_miou']:6.2f}")
        if not result["same_data"]:
            print("the scenes are NOT the same as the committed records'")
        print(f"reproduced on this machine: {'yes' if result['reproduced'] else 'no'} (report: {report})")
        return 0 if result["reproduced"] or self.report_only else 1


@dataclass(frozen=True)
class Segment:
    """Label a scan (ply, npz, bin, pth, las, laz, e57) or a folder with a list of words.

    A folder is a ScanNet scene, whose official mesh is labelled; another folder of RGB-D frames, which is
    reconstructed; or one LiDAR key frame: a LiDAR file, camera images and calibration.json, which says where each
    camera stands.
    """

    scan: Positional[Path]
    labels: str
    """Words separated by commas, e.g. "chair, whiteboard"; one that holds a comma in double quotes of its own."""
    model: str = "mini"
    """A .safetensors file, or the name of a packaged model."""
    out: Path | None = None
    """Labelled ply, las or laz; default <scan>_labelled.ply in the working directory, of a las or laz of its own kind,
    with all that it holds. The summary goes beside it as .json."""
    columns: Annotated[int | None, Within(3, 6)] = None
    """Float32 columns of a .bin file: 6 is x y z r g b, 3 to 5 start with x y z; asked for where it is ambiguous."""
    unit: Unit = None
    up: Up = None
    weights: str | None = None
    """Of the model's backbone, if others released it; default the hub's (Sonata's alone)."""
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    masks: bool = False
    """Also find superpoints and class-agnostic instance masks: two more columns in the ply."""
    html: Path | None = None
    """Also write a page of this name (.html) that shows the result in any browser, without a network."""
    tile: Annotated[float | None, Within(0.1)] = None
    """Edge in metres of the tiles in which a large scan is labelled; default by memory, from a million points on."""
    halo: Annotated[float, Within(0)] = 12.8
    """Metres around a tile that its labels see: less is faster, and differs more from the scan labelled whole."""
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""

    interrupted = START_AGAIN

    def run(self) -> None:
        """Write the labelled cloud and its summary, and print the share of every label."""
        from geoguide import own_scan

        names = own_scan.parse_labels(self.labels)
        read = [Path(path) for path in (self.scan, self.model, self.weights) if path is not None]
        default, about = own_scan.default_name(self.scan), ("scan", "points", "labels")
        kinds = (".ply", *own_scan.LAS)
        out = output_file(self.out, default, kinds, inputs=read, summary=about, own=own_scan.is_labelled)
        own_scan.need_writer(out)
        page = None if self.html is None else output_file(self.html, out, ".html", option="--html", inputs=read)
        model = _loaded(self)
        model.check_labels(names)
        scan = _opened(self, self.columns)
        sizes = {"tile": self.tile, "halo": self.halo, "progress": True}
        result = own_scan.segment_scan(scan, model, names, masks=self.masks, **sizes)
        own_scan.write_labelled(out, result, self.scan)
        if page is not None:
            own_scan.write_page(page, result)
        for line in own_scan.report_lines(result):
            print(line)
        print(f"{out}: {len(result.ids)} points; model {model.trained_on}")


@dataclass(frozen=True)
class View:
    """Explore a scan in a browser: type words, and see where they are. Needs the extra `viewer`, and no network.

    The scan is one that `segment` takes. Colours show labels, the heat map of a word, superpoints, masks or the images,
    and what a 2D model says of these; a click on a point tells its best words and shows the images that see it.
    """

    scan: Positional[Path]
    labels: str = "floor, wall, chair, table"
    """The words at the start, separated by commas; others are typed in the browser."""
    model: str = "mini"
    """A .safetensors file, or the name of a packaged model."""
    features: str | None = None
    """A 2D model, as for `fit-scan`, whose heat map of a word is shown beside the model's."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 lets other machines see the scan."""
    port: Annotated[int, Within(0, 65535)] = 8080
    """0: any free one."""
    columns: Annotated[int | None, Within(3, 6)] = None
    """Float32 columns of a .bin file, as for `segment`."""
    unit: Unit = None
    up: Up = None
    weights: str | None = None
    """Of the model's backbone, if others released it; default the hub's (Sonata's alone)."""
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""

    interrupted = START_AGAIN

    def run(self) -> None:
        """Serve the scan until Ctrl-C."""
        from geoguide import own_scan
        from geoguide.own_scan import viewer
        from geoguide.teachers.registry import identified, parse_spec, teacher_of

        names = own_scan.parse_labels(self.labels)
        viewer.need_viser()
        viewer.check_address(self.host, self.port)
        model = _loaded(self)
        model.check_labels(names)
        teacher = None if self.features is None else teacher_of(identified(parse_spec(self.features)))
        scan = _opened(self, self.columns)
        for said in scan.scene.as_read:
            print(said)
        if teacher is not None and not any(view.has_pose for view in scan.scene.views):
            raise InputError(f"--features {self.features}: {self.scan} has no image with a pose to ask about")
        with viewer.serving(viewer.Exploration(scan, model, names, teacher), self.host, self.port) as served:
            viewer.wait(f"{served.url} shows {len(scan.scene)} points; Ctrl-C ends")


@dataclass(frozen=True)
class FitScan:
    """From images to a model of one's own: distil a 2D model on one scan, without labels, and label the scan with it.

    Reconstructs, lifts what a 2D model says of the images, corrects it by geometry, trains, and compares with images
    that were held out. The scan is a folder of colour, depth and pose, or one LiDAR key frame with its cameras.
    """

    scan: Positional[Path]
    labels: str
    """Words separated by commas, e.g. "chair, whiteboard"; one that holds a comma in double quotes of its own."""
    features: str = "mini:lseg-mini"
    """The 2D model: transformers:NAME_OR_FOLDER, litert:FILE, open_clip:MODEL, own:MODULE:CALLABLE, or mini:NAME,
    which was trained on generated rooms and knows little of real ones."""
    backbone: str = "sonata-mini+descriptors"
    """Frozen 3D features."""
    weights: str | None = None
    """Of the backbone, if others released it; default the hub's (Sonata's alone)."""
    drop: str = "none"
    """Modules to leave out: none, usd, imr, iirc, or several joined by +."""
    steps: Steps = None
    """Of the training; default those of one room."""
    seed: Seed = 0
    out: Path | None = None
    """The model; default <scan>_model.safetensors in the working directory. The labelled ply goes beside it, with a
    summary as .json."""
    unit: Unit = None
    up: Up = None
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""

    interrupted = GO_ON

    def run(self) -> None:
        """Write model, labelled cloud and summary, and print the share of every label and the agreement."""
        from geoguide import own_scan
        from geoguide.own_scan import fit as own_model

        names, name = own_scan.parse_labels(self.labels), Path(os.path.abspath(self.scan)).stem
        out = output_file(self.out, Path(f"{name}_model.safetensors"), ".safetensors", inputs=[self.scan])
        about = ("scan", "points", "labels")
        beside = out.with_name(f"{out.stem.removesuffix('_model')}_labelled.ply")
        labelled = output_file(None, beside, ".ply", summary=about, own=own_scan.is_labelled)
        fitted = own_model.fit_scan(
            functools.partial(_opened, self),
            self.features,
            labels=names,
            backbone=self.backbone,
            weights=self.weights,
            drop=self.drop,
            steps=self.steps or own_model.STEPS,
            seed=self.seed,
            device=self.device,
        )
        result = own_scan.segment_scan(fitted.scan, fitted.model, names)
        agreement = own_model.with_agreement(result, fitted)
        fitted.model.save(out)
        own_scan.write_labelled(labelled, result)
        for line in (*own_scan.report_lines(result), agreement):
            print(line)
        print(f"{out}: model of {len(fitted.learned.views)} images; {labelled}: {len(result.ids)} points")


def _loaded(asked: Evaluate | Segment | View) -> "GeoGuideModel":
    """The model of a command, on its device; the weights of its backbone are there, and the right ones."""
    import geoguide
    from geoguide.backbones.config import identity

    model = geoguide.load(asked.model, asked.weights).to(asked.device)
    identity(model.backbone)
    return model


def _opened(asked: Segment | View | FitScan, columns: int | None = None) -> "Scan":
    """The scan of a command, read as its options say."""
    from geoguide import own_scan

    if os.path.isfile(asked.scan) or own_scan.is_scannet(asked.scan):
        refuse_unread(asked, {"voxel"}, "folders of depth images that are reconstructed")
    how = {name: getattr(asked, name) for name in READING}
    return own_scan.open_scan(asked.scan, columns, asked.voxel, **how)


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
    """auto, cpu, cuda or cuda:N."""
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
        there, splits = benchmark(self.dataset), _splits(self.train, self.val, self.test)
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


@dataclass(frozen=True)
class Cost:
    """Work out hours, memory and disk of an experiment before it is run, from rates measured on one processor thread.

    Hours of a GPU are a lower bound, from the operations of a step and the speed that you name.
    """

    scenes: Annotated[int, Within(1)]
    """Scenes to train on."""
    points: Annotated[int, Within(1)]
    """Points of a scene."""
    scored: Annotated[int, Within(0)] = 0
    """Scenes to score."""
    validated: Annotated[int, Within(0)] = 0
    """Scenes of the validation curve."""
    frames: Annotated[int, Within(0)] = 0
    """Images of a scene that a 2D model sees; none where its features are there already."""
    channels: Annotated[int, Within(1)] = 768
    """Of a 2D feature; OpenSeg's."""
    frozen: Annotated[int, Within(1)] = 1088
    """Channels of a frozen 3D feature; Sonata's."""
    classes: Annotated[int, Within(1)] = 20
    """That are told apart."""
    steps: Annotated[int | None, Within(1)] = None
    """Of a training; default twenty epochs."""
    points_per_step: Annotated[int, Within(1)] = 20_000
    """Points of a training step."""
    adapter_only: bool = False
    """Without the three modules."""
    runs: Annotated[int, Within(1)] = 1
    """Trainings: rows of a table times seeds."""
    gpus: Annotated[int, Within(1)] = 1
    """GPUs, or processor threads, among which the trainings are divided."""
    gpu_tflops: Annotated[float | None, Within(0.001)] = None
    """What one GPU really reaches, 10^12 operations a second."""

    interrupted = START_AGAIN

    def run(self) -> None:
        """Print a line for each quantity."""
        from geoguide.experiments import cost

        names = {field.name for field in fields(cost.Work)} & {field.name for field in fields(self)}
        work = cost.Work(**{name: getattr(self, name) for name in names}, modules=not self.adapter_only)
        found = cost.estimate(work, gpus=self.gpus, gpu_tflops=self.gpu_tflops)
        print(f"superpoints, masks and images, once: {found.prepared_hours:.3g} hours of a processor thread")
        print(f"frozen features, once: {found.frozen_hours:.3g} hours of a processor thread")
        print(f"training: {found.training_hours:.3g} hours of {self.gpus} processor thread(s)")
        if found.gpu_hours is not None:
            print(f"training on {self.gpus} GPU(s): at least {found.gpu_hours:.3g} hours")
        print(f"scoring: {found.scoring_hours:.3g} hours of a processor thread")
        print(f"memory of a training: {found.memory_gib:.3g} GiB; disk: {found.disk_gib:.4g} GiB")


Command = (
    Data | Train | Evaluate | Lift | Replicate | Grid | Verify | Segment | View | FitScan | Pretrain | Probe | Cost
)  # the subcommands, by their names


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `geoguide` command; what it exits with is listed in `geoguide.guard`.

    Args:
        argv: The words after `geoguide`; None for the process's own.
    """
    arguments, begun = sys.argv[1:] if argv is None else argv, []
    if arguments == ["--version"]:
        print(f"geoguide {__version__}")
        sys.exit(0)

    def work() -> int | None:
        need_working_folder()
        begun.append(read_arguments(Command, arguments, EXIT_CODES))
        return begun[0].run()

    sys.exit(guarded(work, arguments, lambda: begun[0].interrupted if begun else "nothing was begun"))
