"""Commands on many experiments: replicate, grid and verify, and what they would cost."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from geoguide.cli.arguments import Steps, Within, Workers, output_file, refuse_unread
from geoguide.cli.common import GO_ON, START_AGAIN, Place, Positional
from geoguide.errors import ConfigError
from geoguide.paths import results_root, runs_root


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
        """Run what has no record, write the README's results where they are its own, and print how many there are."""
        from geoguide.experiments import grid, pools, profiles
        from geoguide.experiments.records import need_place_for_records
        from geoguide.report.readme import update_own

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
        if self.engine == "pool":
            update_own(results_root())
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
            from geoguide.report.readme import update_own

            print(f"{held['table']}: {grid.write_table(held)} records")
            update_own(Path(held["results"]))


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
