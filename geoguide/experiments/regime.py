"""The rows of the large editions, which are to be in the regime of real benchmarks (`report.regime` says how near).

There a 2D model that looks at the images tells less than the frozen features know, and there are scenes enough. The
chapters show them where they are asked for the large edition, as far as they were run.
"""

from typing import Any

from geoguide.benchmarks import NAMES, benchmark
from geoguide.datasets.config import Edition
from geoguide.experiments import presets
from geoguide.experiments.placing import on, placed, tested_on
from geoguide.experiments.presets import adapter_only, fusion, openscene, point_transformer, pooled, preset
from geoguide.experiments.real_rooms import LEARNED, ORACLES
from geoguide.method.mask_reconstruction import IMRConfig
from geoguide.method.objective import MODULES, ObjectiveConfig
from geoguide.method.superpoint_distillation import USDConfig
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.student import student_kind

EDITION: Edition = "large"
FEATURES = {"scannet": "mini:lseg-mini", "matterport3d": "mini:lseg-mini", "nuscenes": "mini:lseg-streets-mini"}
WITH_INSTANCES = ("scannet", "matterport3d")  # whose annotation has instances
OPENSEG, SAS = OTHER_FEATURES = ("mini:openseg-mini", "mini:sas-mini")  # of rooms: does the 2D model matter (C5)?
MODELS = {dataset: spec.removeprefix("mini:") for dataset, spec in FEATURES.items()}  # as facts call them
OTHER_MODELS = tuple(spec.removeprefix("mini:") for spec in OTHER_FEATURES)
BACKBONES = {
    "scannet": "sonata-mini-5cm+descriptors",
    "matterport3d": "sonata-mini-5cm+descriptors",
    "nuscenes": "sonata-mini-streets+descriptors",
}
OTHER_BACKBONES = ("sonata-mini-5cm", "descriptors", "sonata-mini-untrained")  # claim C12
PERFECT = "no fault"  # the 2D model of `presets.DOSES` that is an oracle
SEEDS, FEW = presets.SEEDS, presets.LONG_SEEDS
SEARCH_ROOMS = (200, 30, 1)
SEARCHED = ObjectiveConfig(  # works-best when the search was made; written out, so that its records outlive the preset
    usd=USDConfig(supervision="held_out", point_target="refined", unseen="refined"),
    imr=IMRConfig(
        pattern="superpoints", temperature=0.1, learn_scale=True, centre=True, balance="balanced", negatives="unalike"
    ),
    lambda_sim=1e-4,
)

CONTROLS: dict[str, dict[str, Any]] = {  # of works-best; what each takes away or gives
    "uniform W": presets.UNIFORM_W,
    "permuted geometry": {"objective__iirc__geometry": "permuted"},
    "weights of the small edition": {"objective": SEARCHED},
    **LEARNED,
    "true masks": ORACLES["true masks"],
    "true masks and superpoints": ORACLES["true masks and superpoints"],
}


def in_regime(
    config: ExperimentConfig, dataset: str = "scannet", *, features: str | None = None, teacher: str | None = None
) -> ExperimentConfig:
    """An experiment on a large edition.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        features: The 2D model, as `teachers.registry` names them; None for the benchmark's own of `FEATURES`.
        teacher: A simulated 2D model in its place, a key of `presets.TEACHERS` or `presets.DOSES`.

    Returns:
        The experiment there, on that 2D model and the frozen features of that benchmark; where the experiment names
        other frozen features than the default, on these.

    Raises:
        ConfigError: An unknown benchmark or 2D model.
        DataError: The packaged weights are missing.
    """
    if teacher is not None:
        there = on(presets.with_teacher(config, teacher), dataset, EDITION)
    else:
        there = placed(config, dataset, features=features or FEATURES[dataset], edition=EDITION)
    usual = student_kind(config).frozen and config.backbone.name == presets.DEFAULT_BACKBONE
    return there.replace(backbone__name=BACKBONES[dataset]) if usual else there


def anchors() -> list[ExperimentConfig]:
    """What decides whether the modules can matter: what the 2D model tells, what the student learns, what it could.

    Returns:
        2D fusion, and pooled over superpoints and true instances; per seed the adapter, the same under a perfect 2D
        model, the linear probe of the frozen features, and the adapter taught by labels.
    """
    rows = [*without_training(), in_regime(fusion(), teacher=PERFECT)]
    for seed in FEW:
        taught = (adapter_only(seed), presets.linear_probe(seed), presets.on_labels(adapter_only(seed)))
        rows += [in_regime(config) for config in taught]
        rows.append(in_regime(adapter_only(seed), teacher=PERFECT))
    return rows


def without_training(dataset: str = "scannet") -> list[ExperimentConfig]:
    """The 2D features themselves: as lifted, and averaged over superpoints and over true instances.

    Args:
        dataset: The benchmark's name.

    Returns:
        The experiments; the last is an oracle, and is not there where no instances are annotated (streets).
    """
    plain = in_regime(fusion(), dataset)
    pools = ("superpoints",) if dataset not in WITH_INSTANCES else ("superpoints", "instances")
    return [plain, *(plain.replace(name=f"{plain.name}, {pool} mean", protocol__pooled=pool) for pool in pools)]


def by_class_names(dataset: str) -> list[ExperimentConfig]:
    """2D fusion scored by the classes' own names, where finer ones are asked for (`protocols.asks_finely`).

    Args:
        dataset: The benchmark's name.

    Returns:
        One experiment on streets, none elsewhere.
    """
    plain = in_regime(fusion(), dataset)
    named = plain.replace(name=f"{plain.name}, class names", protocol__finer_names=False)
    return [named] if plain.protocol.finer_names else []


def ablation(seeds: tuple[int, ...] = SEEDS, dataset: str = "scannet") -> list[ExperimentConfig]:
    """Every preset, less its modules one by one, and the controls that decide what a gain means.

    Args:
        seeds: Of the trainings.
        dataset: The benchmark's name.

    Returns:
        The rows that train nothing; then, seed by seed, adapter, plain superpoint means, presets and `CONTROLS`.
    """
    rows = []
    for seed in seeds:
        rows += [adapter_only(seed), pooled(seed)]
        for name in presets.PRESETS:
            drops = presets.DROPS.get(name, ("none", *MODULES))
            rows += [preset(name, drop=drop, seed=seed, edition=EDITION) for drop in drops]
        full = preset(seed=seed, edition=EDITION)
        rows += [full.replace(name=f"{full.name}, {told}", **changes) for told, changes in CONTROLS.items()]
    return [*without_training(dataset), *(in_regime(config, dataset) for config in rows)]


def longer(seeds: tuple[int, ...] = FEW) -> list[ExperimentConfig]:
    """Trained for `LONGER` times as long: do the modules teach more, or only sooner?

    Args:
        seeds: Of the trainings.

    Returns:
        The experiments of the adapter, of works-best and of the same without IIRC: first and last were those that
        still rose.
    """
    rows = [adapter_only(seed) for seed in seeds]
    rows += [preset(drop=drop, seed=seed, edition=EDITION) for drop in ("none", "iirc") for seed in seeds]
    return [presets.for_longer(in_regime(config)) for config in rows]


def preliminary() -> list[ExperimentConfig]:
    """Frozen against entire (claim C1) under two trained 2D models, and other frozen features (C12).

    Returns:
        The rows, those of the entire networks last: they take longest.
    """
    rows = [in_regime(adapter_only(seed, backbone=name)) for name in OTHER_BACKBONES for seed in FEW]
    for features in (FEATURES["scannet"], OPENSEG):
        rows.append(in_regime(fusion(), features=features))
        rows += [in_regime(adapter_only(seed), features=features) for seed in FEW]
    return rows + [row for features in (FEATURES["scannet"], OPENSEG) for row in entire(features)]


def entire(features: str | None = None) -> list[ExperimentConfig]:
    """Networks trained whole, each within the budget of a run.

    Args:
        features: The 2D model; None for the usual one.

    Returns:
        OpenScene's network, and `transformers`, of few seeds.
    """
    rows = [in_regime(openscene(seed, edition=EDITION), features=features) for seed in FEW]
    return rows + transformers(features)


def transformers(features: str | None = None) -> list[ExperimentConfig]:
    """The backbone's own network trained whole: what decides claim C1, since freezing alone sets it apart.

    Args:
        features: The 2D model; None for the usual one.

    Returns:
        From scratch, fine-tuned, and frozen under the same schedule, of few seeds.
    """
    backbone = BACKBONES["scannet"].partition("+")[0]
    rows = [point_transformer(name, seed, backbone=backbone) for seed in FEW for name in presets.TRANSFORMERS]
    return [in_regime(config, features=features) for config in rows]


def main_table(dataset: str, features: str | None = None) -> list[ExperimentConfig]:
    """The rows of the main table on a benchmark.

    Args:
        dataset: The benchmark's name.
        features: The 2D model; None for the benchmark's own of `FEATURES`.

    Returns:
        2D fusion, its superpoint means, and on streets by the classes' own names; adapter and both presets; with the
        benchmark's own 2D model also the adapter on descriptors; where there is a long tail also the presets without
        IIRC; and OpenScene's network.
    """
    there = benchmark(dataset)
    seeds = SEEDS if dataset == NAMES[0] and features is None else FEW
    drops = ("none", "iirc") if there.more_label_sets else ("none",)
    rows = []
    for seed in seeds:
        rows.append(adapter_only(seed))
        if features is None and seed in FEW:
            rows.append(adapter_only(seed, backbone="descriptors"))
        names = presets.CHAPTER_PRESETS
        rows += [preset(name, drop=drop, seed=seed, edition=EDITION) for name in names for drop in drops]
    rows += [openscene(seed, edition=EDITION) for seed in FEW[: there.entire_network_seeds]]
    if features is None:
        still = [*without_training(dataset)[:2], *by_class_names(dataset)]
    else:
        still = [in_regime(fusion(), dataset, features=features)]
    return still + [in_regime(config, dataset, features=features) for config in rows]


SLOW_MEAN = 0.9999  # what GGSD's teacher keeps of itself in a step: its second stage has 2,400 steps here


def systems(dataset: str = "scannet") -> list[ExperimentConfig]:
    """The other systems of the paper's tables (claims C2 and C7); 2D fusion over superpoints is in `main_table`.

    Args:
        dataset: The benchmark's name.

    Returns:
        Each system on the frozen backbone, then each on OpenScene's network, seed by seed; in rooms GGSD with a mean
        teacher that follows slowly; at last the lineage.
    """
    rows = []
    for frozen in (True, False):
        where: dict[str, Any] = {"frozen": frozen, "edition": EDITION, "dataset": dataset}
        rows += [presets.system(name, seed, **where) for seed in FEW for name in presets.SYSTEMS]
    for seed in FEW if dataset == NAMES[0] else ():
        quick = presets.system("GGSD", seed, frozen=True, edition=EDITION)
        rows.append(quick.replace(name=f"{quick.name}, slow mean", train__self_distillation__keep=SLOW_MEAN))
    rows += [preset("lineage", seed=seed, edition=EDITION) for seed in FEW]
    return [in_regime(config, dataset) for config in rows]


# The search: options of the whole method, each changed alone, and schedules of the adapter. Judged by validation rooms
# alone; of the test rooms one is scored, because a record must score something.
_NORM = {"objective__iirc__scale": "norm"}
_MATCHED = {
    "objective__lambda_by": "gradient",
    "objective__lambda_mask": 0.3,
    "objective__lambda_sim": 0.3,
}
_EQUAL = _NORM | _MATCHED | {"objective__lambda_mask": 1.0, "objective__lambda_sim": 1.0}
SCHEDULED = "no module"  # the row whose schedule is varied
SEARCH: dict[str, dict[str, Any]] = {
    "as it was": {},
    "iirc by norm, lambda 1": _NORM | {"objective__lambda_sim": 1.0},
    "iirc by norm, lambda 0.3": _NORM | {"objective__lambda_sim": 0.3},
    "iirc by norm, lambda 0.1": _NORM | {"objective__lambda_sim": 0.1},
    "iirc by norm, lambda 3": _NORM | {"objective__lambda_sim": 3.0},
    "iirc of unit length, centred, lambda 1": {
        "objective__iirc__normalise": "l2",
        "objective__iirc__scale": "centre",
        "objective__lambda_sim": 1.0,
    },
    "gradients, 0.1": _NORM | _MATCHED | {"objective__lambda_mask": 0.1, "objective__lambda_sim": 0.1},
    "gradients, 0.3": _NORM | _MATCHED,
    "gradients, 1": _EQUAL,
    "gradients, 3": _NORM | _MATCHED | {"objective__lambda_mask": 3.0, "objective__lambda_sim": 3.0},
    "gradients, 1 and 3": _EQUAL | {"objective__lambda_sim": 3.0},
    "gradients, 0.1 and 1": _EQUAL | {"objective__lambda_mask": 0.1},
    "gradients, 0.1 and 3": _EQUAL | {"objective__lambda_mask": 0.1, "objective__lambda_sim": 3.0},
    "gradients, 3 and 1": _EQUAL | {"objective__lambda_mask": 3.0},
    "gradients, 1, without USD": _EQUAL | {"objective__modules": ("imr", "iirc")},
    "gradients, 1, without IMR": _EQUAL | {"objective__modules": ("usd", "iirc")},
    "gradients, 1, without IIRC": _EQUAL | {"objective__modules": ("usd", "imr")},
    "gradients, 1, usd's point target lifted": _EQUAL | {"objective__usd__point_target": "lifted"},
    "gradients, 1, usd standardised": _EQUAL | {"objective__usd__standardise": True},
    "lambda_mask x 5": {"objective__lambda_mask": 0.5},
    "usd standardised": {"objective__usd__standardise": True},
    "usd's point target lifted": {"objective__usd__point_target": "lifted"},
    "usd's unseen points skipped": {"objective__usd__unseen": "skip"},
    "usd supervised by the student": {"objective__usd__supervision": "student"},
    "batches of superpoints": {"pooling__batches": "superpoints"},
    "means of sampled points": {"pooling__means": "sampled"},
    "without USD": {"objective__modules": ("imr", "iirc")},
    "without IMR": {"objective__modules": ("usd", "iirc")},
    "without IIRC": {"objective__modules": ("usd", "imr")},
    "no module": {"objective__modules": ()},
    "no module, half the steps": {"objective__modules": (), "train__steps": 2000},
    "no module, twice the steps": {"objective__modules": (), "train__steps": 8000},
    "no module, four times the steps": {"objective__modules": (), "train__steps": 16_000},
    "no module, twice the steps, three times the rate": {
        "objective__modules": (),
        "train__steps": 8000,
        "train__learning_rate": 1e-2,
    },
    "no module, four times the points": {"objective__modules": (), "train__points_per_step": 4000},
    "no module, a third of the rate": {"objective__modules": (), "train__learning_rate": 1e-3},
    "no module, three times the rate": {"objective__modules": (), "train__learning_rate": 1e-2},
}


def search() -> list[ExperimentConfig]:
    """The search, one seed.

    Returns:
        The experiments of `SEARCH`, in its order.
    """
    before = {"train__steps": 4000, "train__learning_rate": 3e-3, "train__evaluate_every": 200}
    base = in_regime(ExperimentConfig(objective=SEARCHED)).replace(
        data__first=SEARCH_ROOMS, train__checkpoint_every=200, **before
    )
    return [base.replace(name=f"search, {told}", **changes) for told, changes in SEARCH.items()]


def cross_domain() -> list[ExperimentConfig]:
    """Networks trained in rooms, scored in houses and in streets.

    Returns:
        The adapter and both presets, of few seeds.
    """
    rows = []
    for seed in FEW:
        trained = [adapter_only(seed)]
        trained += [preset(name, seed=seed, edition=EDITION) for name in presets.CHAPTER_PRESETS]
        rows += [tested_on(in_regime(config), dataset) for config in trained for dataset in NAMES[1:]]
    return rows


def every_table() -> list[ExperimentConfig]:
    """Every row that the chapters show of the large editions.

    Returns:
        The most decisive first: what the regime is, the backbone's own network trained whole, the ablation and the same
        for longer, other frozen features and 2D models, houses, streets, networks that move between them; last the
        other systems, in rooms first.
    """
    whole = [row for features in (None, OPENSEG) for row in transformers(features)]
    others = [row for features in OTHER_FEATURES for row in main_table("scannet", features)]
    rooms = [*anchors(), *whole, *ablation(), *longer(), *others]
    elsewhere = [row for dataset in NAMES[1:] for row in main_table(dataset)]
    peers = [row for dataset in NAMES for row in systems(dataset)]
    return rooms + elsewhere + cross_domain() + preliminary() + main_table("scannet") + peers
