"""The rows of each chapter as lists of experiments, and the profiles to replicate and verify."""

import functools
from typing import Any

from geoguide.benchmarks import NAMES, benchmark
from geoguide.datasets.config import Edition
from geoguide.errors import check_known
from geoguide.experiments import ladder, presets, regime
from geoguide.experiments.placing import on, placed, tested_on
from geoguide.experiments.presets import adapter_only, fusion, openscene, point_transformer, pooled, preset
from geoguide.frozen import config_hash
from geoguide.method.distillation import DistillationConfig
from geoguide.method.objective import MODULES
from geoguide.method.relation_consistency import IIRCConfig
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.protocols import STEPS
from geoguide.superpoints import SuperpointConfig


def ablation(seeds: tuple[int, ...] = presets.SEEDS, edition: Edition = "small") -> list[ExperimentConfig]:
    """Every row of the ablation, with the same seeds and scenes (chapter 03).

    Args:
        seeds: Of the trained rows; 2D fusion, which trains nothing, has seed 0 whatever these are.
        edition: Of the generated rooms.

    Returns:
        Baselines, and each preset full and less its modules one by one; on the large edition also `regime.CONTROLS`.
    """
    if edition == "large":
        return regime.ablation(seeds)
    rows = [fusion()]
    for seed in seeds:
        rows += [adapter_only(seed), pooled(seed)]
        rows += [preset(name, drop=drop, seed=seed) for name, drops in presets.DROPS.items() for drop in drops]
    return rows


def preliminary(edition: Edition = "small") -> list[ExperimentConfig]:
    """Frozen against entire (claim C1) under both 2D models, and the same adapter on other frozen features (C12).

    Args:
        edition: Of the generated rooms.

    Returns:
        The configs; of 2D fusion one seed, of entire networks the few long ones, of the rest every seed.
    """
    if edition == "large":
        return regime.preliminary()
    rows = []
    for teacher in presets.CHAPTER_TEACHERS:
        rows += [fusion(presets.SEEDS[0], teacher)]
        rows += [adapter_only(seed, teacher) for seed in presets.SEEDS]
        rows += [openscene(seed, teacher) for seed in presets.LONG_SEEDS]
    return rows + [adapter_only(seed, backbone=name) for name in presets.OTHER_BACKBONES for seed in presets.SEEDS]


def main_table(dataset: str, data: str = "mini", features: str | None = None, **options: Any) -> list[ExperimentConfig]:
    """The rows of the main table on a benchmark (chapter 04).

    Args:
        dataset: The benchmark's name.
        data: See `placed`.
        features: See `placed`; None for the edition's own 2D model.
        **options: See `placed`; of the large edition, where nothing else is asked for, the rows are `regime`'s.

    Returns:
        2D fusion, entire network, adapter and both presets. On mini data with the default 2D model also the adapter on
        descriptors, which know nothing of rooms; where a benchmark has a long tail, also the presets without IIRC
        (claim C7).
    """
    if options.get("edition") == "large" and not any(v for k, v in options.items() if k != "edition"):
        return regime.main_table(dataset, features)
    features = features or presets.DEFAULT_TEACHER
    # How long the entire network must train depends on the 2D model.
    long = features if features in presets.TEACHERS else presets.DEFAULT_TEACHER
    there = benchmark(dataset)
    rows = [fusion(), *(openscene(seed, long) for seed in presets.LONG_SEEDS[: there.entire_network_seeds])]
    drops = ("none", "iirc") if there.more_label_sets else ("none",)
    for seed in presets.SEEDS:
        rows.append(adapter_only(seed))
        if (data, features) == ("mini", presets.DEFAULT_TEACHER) and options.get("backbone") is None:
            rows.append(adapter_only(seed, backbone="descriptors"))
        names, edition = presets.CHAPTER_PRESETS, options.get("edition", "small")
        rows += [preset(name, drop=drop, seed=seed, edition=edition) for name in names for drop in drops]
    return [placed(config, dataset, data, features, **options) for config in rows]


def occlusion() -> list[ExperimentConfig]:
    """mini-nuScenes lifted with a test of occlusion; the rows of the main table have none, as OpenScene (chapter 04).

    Returns:
        2D fusion and the adapter with our z-buffer of the points, and 2D fusion with depth images, which a real car
        does not have.
    """
    splat = {"lifting__occlusion": "splat", "lifting__depth_tolerance": 0.1}
    rows = [on(fusion(), "nuscenes").replace(name="2D fusion, true depth", lifting__occlusion="depth")]
    for config in (fusion(), *(adapter_only(seed) for seed in presets.SEEDS)):
        rows.append(on(config, "nuscenes").replace(name=f"{config.name}, z-buffer", **splat))
    return rows


def cross_domain(edition: Edition = "small") -> list[ExperimentConfig]:
    """Networks trained on mini-ScanNet, scored in houses and in streets: the adapter and both presets.

    Args:
        edition: Of the generated scenes.

    Returns:
        The configs of every seed.
    """
    if edition == "large":
        return regime.cross_domain()
    rows = []
    for seed in presets.SEEDS:
        trained = [adapter_only(seed), *(preset(name, seed=seed) for name in presets.CHAPTER_PRESETS)]
        rows += [tested_on(config, dataset) for config in trained for dataset in NAMES[1:]]
    return rows


def under_protocols() -> list[ExperimentConfig]:
    """Trained networks under each named protocol, and with each of its parts alone changed (chapter 07).

    Returns:
        One experiment for each seed and protocol; few seeds, because passes of a turned cloud encode every scene anew,
        which takes longer than the training.
    """
    return [preset(seed=seed).replace(protocol=protocol) for seed in presets.LONG_SEEDS for protocol in STEPS.values()]


def systems(dataset: str = NAMES[0], edition: Edition = "small") -> list[ExperimentConfig]:
    """The other systems of the paper's tables (claims C2 and C7), on the frozen backbone and on their own network.

    Args:
        dataset: The benchmark's name.
        edition: Of the generated scenes.

    Returns:
        2D fusion averaged over superpoints, which trains nothing; each system on the adapter, few seeds; then each on
        OpenScene's network, seed by seed; at last the lineage, whose steps have twenty times the points.
    """
    if edition == "large":
        return regime.systems(dataset)
    still = fusion().replace(name="2D fusion, superpoints mean", protocol__pooled="superpoints")
    rows = [still]
    for frozen in (True, False):
        where: dict[str, Any] = {"frozen": frozen, "dataset": dataset}
        rows += [presets.system(name, seed, **where) for seed in presets.LONG_SEEDS for name in presets.SYSTEMS]
    rows += [preset("lineage", seed=seed) for seed in presets.LONG_SEEDS]
    return [on(config, dataset) for config in rows]


def longer() -> list[ExperimentConfig]:
    """The trained rows of the ablation with twice the steps: were they trained for long enough (chapter 07)?

    Returns:
        The configs, those of all modules first, and of each row every seed.
    """
    trained = [config for config in ablation() if config.protocol.mode != "fusion"]
    trained.sort(key=lambda config: (len(config.objective.modules) < len(MODULES), config.name))
    return [presets.for_longer(config) for config in trained]


def systems_elsewhere() -> list[ExperimentConfig]:
    """The other systems in houses, whose long tail has DMA (claim C7), and on streets (chapters 04 and 05).

    Returns:
        `systems` of the other benchmarks than rooms, of the small edition.
    """
    return [row for dataset in NAMES[1:] for row in systems(dataset)]


WORLDS = (1, 2, 3, 4)  # beside the first, 0, which all other rows share

DOSE_ROOMS = (40, 10, 40)  # of the large edition's train, val, test: so that thirteen 2D models can be afforded
FEW_ROOMS_STEPS = 4000  # of their trainings: with 1,000, hardly one of sixty had converged
DOSE_DROPS = {"none": "all modules", "imr+iirc": "USD", "usd+iirc": "IMR", "usd+imr": "IIRC"}  # dropped: what remains


def dose_response() -> list[ExperimentConfig]:
    """The adapter, each module alone and all of them under 2D models with one fault each (claim C4, chapter 07).

    Returns:
        The configs of few seeds, seed by seed: no fault first, then heavy ones, then medium ones.
    """
    rows = []
    for seed in presets.LONG_SEEDS:
        for dose in presets.DOSES:
            modules = (preset(drop=drop, seed=seed, edition="large") for drop in DOSE_DROPS)
            rows += [_on_few_rooms(config, dose) for config in (adapter_only(seed), *modules)]
    return rows


LAMBDA_WITHOUT_FAULT = 0.9136  # λ3 at the end of IIRC's trainings by gradient without a fault, their mean


def fixed_weight() -> list[ExperimentConfig]:
    """IIRC alone under each heavy fault, weighed as without a fault (chapter 07).

    By gradient, λ3 follows the length of the distillation's gradient; here it does not, so that what IIRC's relations
    do can be told from how they are weighed.

    Returns:
        The configs of few seeds, dose by dose.
    """
    weighed = {"objective__lambda_by": "value", "objective__lambda_sim": LAMBDA_WITHOUT_FAULT}
    return [
        config.replace(name=f"{config.name}, lambda of no fault", **weighed)
        for dose in presets.DOSES
        if "heavy" in dose
        for config in (
            _on_few_rooms(preset(drop=ALONE["iirc"], seed=seed, edition="large"), dose) for seed in presets.LONG_SEEDS
        )
    ]


def _on_few_rooms(config: ExperimentConfig, teacher: str | None = None) -> ExperimentConfig:
    """The experiment on `DOSE_ROOMS` of the large edition, which take fewer steps."""
    shorter = {"train__steps": FEW_ROOMS_STEPS, "train__evaluate_every": FEW_ROOMS_STEPS // 20}
    return regime.in_regime(config, teacher=teacher).replace(data__first=DOSE_ROOMS, **shorter)


_SAME_MASKS = {"masks__superpoints": SuperpointConfig()}  # so that superpoints change and masks do not

USD_FAULT = "pixel_noise, heavy"  # one of its own, under which its trainings settle
_MEANS = DistillationConfig("superpoint")
_CUT = {"superpoints": SuperpointConfig(cut="annotation")} | _SAME_MASKS  # where annotated objects end
USD_PARTS: dict[str, dict[str, Any]] = {  # what USD alone has in place of its own
    "plain means": presets.UNIFORM_W,
    "points as they are": {"objective__usd__point_target": "lifted", "objective__usd__unseen": "skip"},
    "seen points alone": {"objective__usd__unseen": "skip"},
    "means for points alone": {"objective__modules": (), "objective__distillation": _MEANS},
    "true superpoints": _CUT,
    "plain means over true superpoints": presets.UNIFORM_W | _CUT,
}


def usd_parts() -> list[ExperimentConfig]:
    """USD alone under a fault of its own, with one of its parts changed at a time (chapter 07).

    Returns:
        The configs of few seeds, part by part.
    """
    rows = []
    for part, changes in USD_PARTS.items():
        for seed in presets.LONG_SEEDS:
            config = _on_few_rooms(preset(drop=ALONE["usd"], seed=seed, edition="large"), USD_FAULT)
            rows.append(config.replace(name=f"{config.name}, {part}", **changes))
    return rows


# Quality of the regions (claim C11): what works-best has in place of its own. A room of the large edition has 33,000
# points; results/quality.json has what these make of them.
QUALITY: dict[str, dict[str, Any]] = {
    "ours": {},
    "superpoints far too fine": {"superpoints": SuperpointConfig(k=1e-4, min_size=2)} | _SAME_MASKS,
    "superpoints finer": {"superpoints": SuperpointConfig(k=1e-3, min_size=5)} | _SAME_MASKS,
    "superpoints of SAS": {"superpoints": SuperpointConfig(min_size=60)} | _SAME_MASKS,
    "superpoints coarser": {"superpoints": SuperpointConfig(k=0.1, min_size=100)} | _SAME_MASKS,
    "superpoints far too coarse": {"superpoints": SuperpointConfig(k=1.0, min_size=300)} | _SAME_MASKS,
    "superpoints by VCCS": {"superpoints": SuperpointConfig(method="vccs")} | _SAME_MASKS,
    "true masks": {"masks__source": "annotation"},
    **{
        f"true masks, {share:g} spoiled": {"masks__source": "annotation", "masks__spoil": share}
        for share in (0.3, 0.6, 1.0)
    },
    "ours, half spoiled": {"masks__spoil": 0.5},  # the annotation's, all spoiled, are still better than ours
    "ours, all spoiled": {"masks__spoil": 1.0},
}
ALONE = {"usd": "imr+iirc", "iirc": "usd+imr", "imr": "usd+iirc"}  # a module by itself: what is dropped
_SUPERPOINTS = ("ours", "superpoints far too fine", "superpoints far too coarse")
_MASKS = ("true masks", "ours, all spoiled")
ALONE_QUALITY = {"usd": _SUPERPOINTS, "iirc": (*_SUPERPOINTS, *_MASKS), "imr": ("ours", *_MASKS)}  # what it takes


def quality() -> list[ExperimentConfig]:
    """The adapter, and works-best by superpoints and masks from far too bad to an oracle's (claim C11, chapter 07).

    Returns:
        The configs of few seeds, seed by seed, in the order of `QUALITY`; then superpoints of `ALONE_QUALITY` with one
        module; last, masks worse than ours, and masks with one module.
    """
    rows, worse = [], tuple(variant for variant in QUALITY if variant.startswith("ours, "))
    for seed in presets.LONG_SEEDS:
        rows.append(_on_few_rooms(adapter_only(seed)))
        rows += [with_quality(variant, seed) for variant in QUALITY if variant not in worse]
    for seed in presets.LONG_SEEDS:
        rows += [with_quality(variant, seed, ALONE[one]) for one in ("usd", "iirc") for variant in _SUPERPOINTS]
    for seed in presets.LONG_SEEDS:
        rows += [with_quality(variant, seed) for variant in worse]
        rows += [with_quality(variant, seed, ALONE[one]) for one in ("imr", "iirc") for variant in ALONE_QUALITY[one]]
    return _unique(rows)


def with_quality(variant: str, seed: int = 0, drop: str = "none") -> ExperimentConfig:
    """Works-best on few rooms of the large edition, with regions of another quality.

    Args:
        variant: A key of `QUALITY`.
        seed: Of the training.
        drop: Modules to leave out, as `preset` takes them.

    Returns:
        The experiment.

    Raises:
        ConfigError: An unknown variant.
    """
    check_known("quality", variant, QUALITY)
    config = _on_few_rooms(preset(drop=drop, seed=seed, edition="large"))
    return config.replace(name=f"{config.name}, {variant}", **QUALITY[variant])


def worlds() -> list[ExperimentConfig]:
    """Replicates that draw everything anew: the rooms, the errors of the 2D model, and the training.

    Returns:
        2D fusion, adapter, as-written, and works-best full and less each module; world by world.
    """
    rows = []
    for world in WORLDS:
        drops = presets.DROPS["works-best"][: len(MODULES) + 1]
        configs = [fusion(), adapter_only(world), preset("as-written", seed=world)]
        configs += [preset(drop=drop, seed=world) for drop in drops]
        rows += [in_world(config, world) for config in configs]
    return rows


def in_world(config: ExperimentConfig, world: int) -> ExperimentConfig:
    """The same experiment on scenes that are drawn anew, with a 2D model that errs elsewhere.

    Args:
        config: An experiment on generated scenes, with a simulated 2D model.
        world: The seed of both; 0 is the world of all other experiments.

    Returns:
        The experiment there.
    """
    return config.replace(data__room_seed=world, teacher__seed=world)


def entire_networks() -> list[ExperimentConfig]:
    """The backbone's own network, from scratch, fine-tuned and frozen, beside the adapter on it (claim C1).

    Returns:
        The configs of few seeds, under both 2D models; and one seed of each wider or finer MinkUNet18A, to choose by
        validation.
    """
    rows = []
    for teacher in presets.CHAPTER_TEACHERS:
        for seed in presets.LONG_SEEDS:
            rows += [point_transformer(name, seed, teacher) for name in presets.TRANSFORMERS]
            rows.append(adapter_only(seed, teacher))
    return rows + [presets.openscene_in_budget(*size) for size in presets.ENTIRE_IN_BUDGET]


def whole_rooms() -> list[ExperimentConfig]:
    """The adapter under the schedule of networks trained whole: what of their gain is the schedule's (claim C1)?

    Returns:
        The configs of few seeds, seed by seed: without augmentation, with it (the frozen row of `entire_networks`), and
        works-best with it.
    """
    rows = []
    for seed in presets.LONG_SEEDS:
        rows += [presets.in_whole_rooms(adapter_only(seed), augmented=augmented) for augmented in (False, True)]
        rows.append(presets.in_whole_rooms(preset(seed=seed)))
    return rows


def ceilings() -> list[ExperimentConfig]:
    """What limits the student: a perfect 2D model, and oracles that learn from labels instead of 2D features.

    Returns:
        The adapter under a perfect 2D model, the linear probe, and adapter and fine-tuned network on labels.
    """
    rows = []
    for seed in presets.LONG_SEEDS:
        rows += [presets.with_teacher(adapter_only(seed), "no fault"), presets.linear_probe(seed)]
        rows += [presets.on_labels(config) for config in (adapter_only(seed), point_transformer(seed=seed))]
    return rows


STUDY_SEEDS = presets.LONG_SEEDS

_UNIT_LENGTH = IIRCConfig(normalise="l2", scale="standardise", diagonal=False)
_FIXED_SCALE = {"objective__imr__temperature": 1.0, "objective__imr__learn_scale": False}

STUDIES: dict[str, tuple[str, dict[str, object]]] = {  # option: modules dropped, and what changes from works-best
    "usd.weight = softmax": ("imr+iirc", {"objective__usd__weight": "softmax"}),
    "usd.weight = raw": ("imr+iirc", {"objective__usd__weight": "raw"}),
    "usd.supervision = student": ("imr+iirc", {"objective__usd__supervision": "student"}),
    "usd.point_target = lifted": ("imr+iirc", {"objective__usd__point_target": "lifted"}),
    "usd.student_pooling = weighted": ("imr+iirc", {"objective__usd__student_pooling": "weighted"}),
    "imr.centre = no": ("usd+iirc", {"objective__imr__centre": False}),
    "imr.pattern = points": ("usd+iirc", {"objective__imr__pattern": "points"}),
    "imr.negatives = all": ("usd+iirc", {"objective__imr__negatives": "all"}),
    "imr.balance = none": ("usd+iirc", {"objective__imr__balance": "none"}),
    "imr.temperature = 1, fixed": ("usd+iirc", _FIXED_SCALE),
    "lambda_mask x 5": ("usd+iirc", {"objective__lambda_mask": 5 * presets.PRESETS["works-best"].lambda_mask}),
    "iirc of unit length, standardised": ("usd+imr", {"objective__iirc": _UNIT_LENGTH, "objective__lambda_sim": 0.002}),
    "lambda_sim / 10": ("usd+imr", {"objective__lambda_sim": presets.PRESETS["works-best"].lambda_sim / 10}),
    "lambda_sim x 10": ("usd+imr", {"objective__lambda_sim": 10 * presets.PRESETS["works-best"].lambda_sim}),
    "masks.source = annotation": ("none", {"masks__source": "annotation"}),
    "train.steps x 2": ("none", {"train__steps": 2 * ExperimentConfig().train.steps}),
}


def study(option: str, seed: int = 0) -> tuple[ExperimentConfig, ExperimentConfig]:
    """One point of the ambiguity ledger (chapter 07).

    Args:
        option: A key of `STUDIES`.
        seed: Of the training.

    Returns:
        The works-best preset with only the option's module, and the same with the option changed.

    Raises:
        ConfigError: An unknown option.
    """
    check_known("study", option, STUDIES)
    drop, changes = STUDIES[option]
    base = preset("works-best", drop=drop, seed=seed)
    return base, base.replace(name=f"study/{option}", **changes)


_CHAPTERS = {
    "occlusion": occlusion,
    "cross-domain": cross_domain,
    "protocols": under_protocols,
    "systems": systems,
    "systems-elsewhere": systems_elsewhere,
    "dose-response": dose_response,
    "fixed-weight": fixed_weight,
    "usd-parts": usd_parts,
    "quality": quality,
    "longer": longer,
    "worlds": worlds,
    "entire-networks": entire_networks,
    "whole-rooms": whole_rooms,
    "ceilings": ceilings,
    "regime": regime.anchors,
    "large": regime.every_table,
    "search": regime.search,
    "ladder": ladder.rows,
}
_SHARED = ("occlusion", "cross-domain", "protocols")  # the chapters' that `all` holds

PROFILES = ("all", "quick", "full", "studies", *NAMES, *_CHAPTERS)


def profile(name: str) -> list[ExperimentConfig]:
    """The experiments of a profile.

    Args:
        name: `quick`: every ablation row with one seed, and the adapter and works-best in houses and streets. `full`:
            the ablation with all seeds, and the preliminary experiment, whose entire network takes several times as
            long as an adapter. A benchmark: its rows of the main table. `occlusion`, `cross-domain`, `protocols`:
            chapters 04, 06 and 07. `systems`: the other systems of the paper's tables in rooms, `systems-elsewhere`: in
            houses and streets (chapters 04 and 05). `dose-response`: one fault of the 2D model at a time,
            `fixed-weight`: IIRC there at a fixed λ3, `usd-parts`: USD there by its parts (chapter 07). `quality`:
            regions from far too bad to an oracle's (C11, chapter 07). `longer`: the ablation with twice the
            steps (chapter 07). `worlds`: rooms, 2D model and training drawn anew (chapter 03). `entire-networks`: the
            backbone's own network trained whole (C1). `whole-rooms`: the adapter under its schedule. `ceilings`: what
            limits the student. `regime`: the anchors of the large edition of rooms (chapter 15). `large`: every row
            that the chapters show of the large editions. `search`: options and schedules on validation rooms (chapter
            07). `ladder`: frozen features from the weakest to the strongest (chapter 01). `studies`: single options of
            the ledger. `all`: all of these but `studies` and those from `systems` to `ladder`.

    Returns:
        Its experiments, each once.

    Raises:
        ConfigError: An unknown profile.
    """
    check_known("profile", name, PROFILES)
    match name:
        case "quick":
            seed = presets.SEEDS[0]
            both = (adapter_only(seed), preset("works-best", seed=seed))
            return ablation(presets.SEEDS[:1]) + [on(config, dataset) for dataset in NAMES[1:] for config in both]
        case "full":
            return _unique([*ablation(), *preliminary()])
        case "studies":
            return [study(option, seed)[1] for seed in STUDY_SEEDS for option in STUDIES]
        case "all":
            parts = ("full", *NAMES, *_SHARED)
            other = [row for teacher in presets.CHAPTER_TEACHERS for row in main_table("scannet", features=teacher)]
            return _unique([config for part in parts for config in profile(part)] + other)
    return main_table(name) if name in NAMES else _unique(_CHAPTERS[name]())


@functools.cache
def ids(name: str) -> frozenset[str]:
    """The ids that the records of a profile have; kept, since it takes longer to make than to look through them.

    Args:
        name: See `profile`.

    Returns:
        They.
    """
    return frozenset(map(config_hash, profile(name)))


def _unique(configs: list[ExperimentConfig]) -> list[ExperimentConfig]:
    """Each config once, where it stands first; names do not make a difference."""
    first: dict[str, ExperimentConfig] = {}
    for config in configs:
        first.setdefault(config_hash(config), config)
    return list(first.values())
