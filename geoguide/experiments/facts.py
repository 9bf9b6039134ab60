"""What an experiment is, as facts that a table can filter and sort by, read from its config and never from its name."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from geoguide.benchmarks import benchmark, benchmark_of
from geoguide.experiments import placing, presets, profiles
from geoguide.frozen import to_dict
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.protocols import STEPS, own_protocol
from geoguide.pipeline.student import student_kind
from geoguide.students.point_transformer import PointTransformerStudent

# The methods.
FUSION = "2D fusion"  # the lifted 2D features themselves: nothing is trained
ENTIRE = "entire network"  # OpenScene's network, trained from scratch
SCRATCH, TUNED, STILL = presets.SCRATCH, presets.TUNED, presets.STILL  # the backbone's own network as a student
ADAPTER = "adapter only"  # frozen backbone, adapter, plain distillation
POOLED = "mean-pooled superpoints"  # distillation of plain superpoint means: the control of USD
GEOGUIDE = "GeoGuide"  # one of the presets, with all or some of the modules
PROBE = "linear probe"  # an oracle: a linear layer on frozen features, trained on labels
# Further oracles are methods that learn from labels: their names end in `presets.ON_LABELS`.


BOOK_PROTOCOL = next(iter(STEPS))  # what every chapter scores by unless it says otherwise


Row = dict[str, Any]  # facts by name, and the value that each must have; a frozenset stands for any of its values


@dataclass(frozen=True)
class Facts:
    """The facts of an experiment: where two have the same ones but for the seed, they are one row of a table.

    Attributes:
        method: `FUSION`, `ENTIRE`, `SCRATCH`, `TUNED`, `STILL`, `ADAPTER`, `POOLED`, `GEOGUIDE`, `PROBE`, or one of
            these that learns from labels; of a wider or finer `ENTIRE` the name of `presets.openscene_in_budget`; of
            another system a key of `presets.SYSTEMS`, and `presets.ON_FROZEN` behind it where its student is the
            adapter.
        preset: Name in `presets.PRESETS` where the method is `GEOGUIDE`, else None.
        modules: Those in use, of ("usd", "imr", "iirc").
        teacher: The 2D model: its own name; of a simulated one that in `presets.TEACHERS` or `presets.DOSES`; of fused
            features their folder's.
        backbone: Name of the frozen 3D backbone; None for methods that train none on it.
        data: "mini" (generated) or "real".
        trained_on: Benchmark of the training scenes: scannet, matterport3d or nuscenes.
        tested_on: Benchmark of the scored scenes.
        label_set: Name of the label set that is scored.
        protocol: Name in `protocols.STEPS`, or "other".
        mode: distill, fusion or ensemble.
        occlusion: What hides points from an image when features are lifted: depth, splat or none.
        changed: What else differs from the presets: (dotted config field, value), sorted.
        seed: Of the experiment.
        edition: Of the generated training scenes: small or large; None on real data.
    """

    method: str
    preset: str | None
    modules: tuple[str, ...]
    teacher: str
    backbone: str | None
    data: str
    trained_on: str
    tested_on: str
    label_set: str
    protocol: str
    mode: str
    occlusion: str
    changed: tuple[tuple[str, Any], ...]
    seed: int
    edition: str | None = "small"

    @classmethod
    def of(cls, config: ExperimentConfig) -> "Facts":
        """The facts of an experiment.

        Args:
            config: The experiment; its name is not looked at, and nothing is read from disk.

        Returns:
            Its facts. An experiment that no function of `presets` makes has the facts of the one that it is nearest to,
            and `changed` lists what differs. On real data, what `placing.real` decides by benchmark (lifting, text,
            backbone, steps, points per step) is taken as it is and never listed.

        Example:
            >>> from geoguide.experiments.presets import preset
            >>> facts = Facts.of(preset("works-best", drop="usd", seed=3))
            >>> facts.method, facts.preset, facts.dropped, facts.teacher, facts.tested_on, facts.changed, facts.seed
            ('GeoGuide', 'works-best', ('usd',), 'OpenSeg-like', 'scannet', (), 3)
        """
        return replace(_of_any_seed(config.replace(name="", seed=0)), seed=config.seed)

    @classmethod
    def _of(cls, config: ExperimentConfig) -> "Facts":
        trained_on = benchmark_of(config.data).name
        known = cls(
            method="",
            preset=None,
            modules=config.objective.modules,
            teacher=config.teacher_name or _teacher(config, trained_on),
            backbone=config.backbone.name,
            data="mini" if config.data.generated else "real",
            trained_on=trained_on,
            tested_on=benchmark_of(config.tested().data).name,
            label_set=config.tested().data.label_set,
            protocol=_protocol_name(config),
            mode=config.protocol.mode,
            occlusion=config.lifting.occlusion,
            changed=(),
            seed=config.seed,
            edition=config.data.edition if config.data.generated else None,
        )
        bases = [(replace(known, **kind), base) for kind, base in _bases(config, known.teacher)]
        near = [replace(facts, changed=_differing(config, _placed(base, config, facts))) for facts, base in bases]
        return min(near, key=lambda facts: len(facts.changed))

    @property
    def dropped(self) -> tuple[str, ...]:
        """The modules that are not in use."""
        return tuple(module for module in MODULES if module not in self.modules)

    @property
    def plain(self) -> bool:
        """Whether it is as the chapters have it unless they say otherwise.

        That is: scored on its own test scenes by the book's protocol, lifted as its benchmark is, nothing else changed.
        """
        at_home = self.tested_on == self.trained_on and self.occlusion == own_occlusion(self.trained_on)
        return at_home and self.protocol == BOOK_PROTOCOL and not self.changed

    def columns(self) -> dict[str, Any]:
        """The facts as columns of a table.

        Returns:
            Every fact by name, `dropped` and `plain` among them.
        """
        names = (*(field.name for field in fields(self)), "dropped", "plain")
        return {name: getattr(self, name) for name in names}

    def fit(self, row: Row) -> bool:
        """Whether every fact that a row names has the value that it gives.

        Args:
            row: Facts by name, `dropped` and `plain` among them.

        Returns:
            True where all of them agree.
        """
        return all(agrees(getattr(self, name), wanted) for name, wanted in row.items())


@functools.cache
def _of_any_seed(config: ExperimentConfig) -> Facts:
    """The facts of an experiment but for its seed; kept, since a book reads each row's records seed by seed."""
    return Facts._of(config)


def agrees(value: Any, wanted: Any) -> bool:
    """Whether a fact has the value that a row gives.

    Args:
        value: Of the fact.
        wanted: A value, or a frozenset of values.

    Returns:
        True where it is that value, or one of the set.
    """
    return value in wanted if isinstance(wanted, frozenset) else value == wanted


def own_occlusion(dataset: str) -> str:
    """What hides points from an image on a benchmark (see `Facts.occlusion`), unless an experiment says otherwise.

    Args:
        dataset: The benchmark: scannet, matterport3d or nuscenes.

    Returns:
        depth, splat or none.
    """
    return benchmark(dataset).world.lifting.occlusion


def _bases(config: ExperimentConfig, teacher: str) -> Iterator[tuple[dict[str, Any], ExperimentConfig]]:
    """What a config may be: the facts that this decides, and the experiment that it then is on mini-ScanNet."""
    if config.train.supervision == "2d":
        yield from _taught_by_images(config, teacher)
        return
    for kind, base in _taught_by_images(config, teacher):
        yield kind | {"method": kind["method"] + presets.ON_LABELS}, presets.on_labels(base)
    if student_kind(config).frozen:
        yield {"method": PROBE}, presets.linear_probe()


def _taught_by_images(config: ExperimentConfig, teacher: str) -> Iterator[tuple[dict[str, Any], ExperimentConfig]]:
    """The same for an experiment whatever it learns from."""
    modules = config.objective.modules
    edition, dataset = config.data.edition if config.data.generated else "small", benchmark_of(config.data).name
    if config.protocol.mode == "fusion":
        yield {"method": FUSION, "backbone": None}, presets.fusion()
    elif config.train.model == PointTransformerStudent.name:
        mine = config.point_transformer
        alike = [
            name
            for name, (start, _, share) in presets.TRANSFORMERS.items()
            if start == mine.start and (share > 0) == (mine.encoder_rate > 0)
        ]
        yield from (({"method": name}, presets.point_transformer(name)) for name in alike or presets.TRANSFORMERS)
    elif not student_kind(config).frozen:  # how long it trains depends on the 2D model
        trained_for = teacher if teacher in presets.TEACHERS else presets.DEFAULT_TEACHER
        yield {"method": ENTIRE, "backbone": None}, presets.openscene(teacher=trained_for, edition=edition)
        for name in _systems(config):
            base = presets.system(name, teacher=trained_for, edition=edition, dataset=dataset)
            yield {"method": base.name, "backbone": None}, base
        for width, voxel in presets.ENTIRE_IN_BUDGET:
            base = presets.openscene_in_budget(width, voxel)
            yield {"method": base.name, "backbone": None}, base
    else:
        if not modules:
            yield {"method": ADAPTER}, presets.adapter_only()
            for name in _systems(config):
                yield {"method": name + presets.ON_FROZEN}, presets.system(name, frozen=True, dataset=dataset)
        if modules == presets.pooled().objective.modules:
            yield {"method": POOLED}, presets.pooled()
        for name in presets.PRESETS:
            yield (
                {"method": GEOGUIDE, "preset": name},
                presets.preset(name, edition=edition).replace(objective__modules=modules),
            )


def _systems(config: ExperimentConfig) -> Iterator[str]:
    """The systems whose students learn from what the config's does."""
    for name, changes in presets.SYSTEMS.items():
        changed = ExperimentConfig(objective=replace(config.objective, modules=())).replace(**changes)
        same_stages = changed.train.self_distillation.teacher == config.train.self_distillation.teacher
        if changed.objective.distillation == config.objective.distillation and same_stages:
            yield name


def _placed(base: ExperimentConfig, config: ExperimentConfig, facts: Facts) -> ExperimentConfig:
    """The experiment on mini-ScanNet, brought to where the facts say: in what the config still differs is no fact."""
    base = base.replace(protocol=_protocol(facts.protocol, config), seed=config.seed)
    if facts.data == "real":  # what `placing.real` decides
        parts = (
            "data",
            "lifting",
            "backbone",
            "text",
            "openscene",
            "point_transformer",
            "train",
            "evaluation",
            "image_model",
            "pooling",
        )
        return base.replace(**{part: getattr(config, part) for part in parts})
    if config.image_model is not None:  # the simulated one is not used
        placed = placing.on(base, facts.trained_on, config.data.edition).replace(
            image_model=config.image_model, text=config.text
        )
    else:
        placed = placing.on(presets.with_teacher(base, facts.teacher), facts.trained_on, config.data.edition)
    if facts.tested_on != facts.trained_on:
        placed = placing.tested_on(placed, facts.tested_on)
    placed = placed.replace(backbone__name=config.backbone.name)  # the row's, or one that its method does not read
    if facts.occlusion != placed.lifting.occlusion:
        others = {row.lifting.occlusion: row.lifting for row in profiles.occlusion()}
        placed = placed.replace(lifting=others.get(facts.occlusion, replace(placed.lifting, occlusion=facts.occlusion)))
    return placed


def _protocol_name(config: ExperimentConfig) -> str:
    """The protocol of an experiment; 2D fusion, which has no 3D features, is scored by no ensemble with them."""
    names = [name for name in STEPS if config.protocol.mode != "fusion" or STEPS[name].mode != "ensemble"]
    return next((name for name in names if _protocol(name, config) == config.protocol), "other")


def _protocol(name: str, config: ExperimentConfig) -> Protocol:
    """A named protocol as an experiment takes it: 2D fusion stays fusion; the book's own for an unknown name.

    By the book's own, a 2D model that looks at streets is asked for finer names (`protocols.asks_finely`).
    """
    protocol, mode = STEPS.get(name, STEPS[BOOK_PROTOCOL]), config.protocol.mode
    if protocol == STEPS[BOOK_PROTOCOL] and config.data.generated:
        protocol = own_protocol(config)
    return replace(protocol, mode=mode) if mode == "fusion" or name not in STEPS else protocol


def _teacher(config: ExperimentConfig, dataset: str) -> str:
    """The simulated 2D model that the config's is nearest to, after its faults were scaled for the benchmark."""
    found = to_dict(config.teacher)

    def strangeness(name: str) -> int:
        named = _simulated(name, dataset)
        return sum(named[field] != value for field, value in found.items())

    return min(presets.TEACHERS | presets.DOSES, key=strangeness)


@functools.cache
def _simulated(name: str, dataset: str) -> dict[str, Any]:
    """The fields of a simulated 2D model as a benchmark has it."""
    return to_dict(placing.on(presets.with_teacher(ExperimentConfig(), name), dataset).teacher)


def _differing(config: ExperimentConfig, other: ExperimentConfig) -> tuple[tuple[str, Any], ...]:
    """The fields that decide a result and differ between two configs: (dotted name, the first config's value)."""
    mine, theirs, whole = _fields(config), _fields(other), _fields(config, hashed_only=False)
    names = sorted(mine.keys() | theirs.keys())
    return tuple((name, whole.get(name)) for name in names if mine.get(name, other) != theirs.get(name, other))


@functools.lru_cache(maxsize=1024)
def _fields(config: ExperimentConfig, *, hashed_only: bool = True) -> dict[str, Any]:
    """The fields of an experiment by dotted name; kept, since each is compared with many others."""
    return _flat(to_dict(config, hashed_only=hashed_only))


def _flat(nested: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested dicts as one, by dotted name; lists become tuples."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{where}{name}.")
        else:
            flat[where + name] = tuple(value) if isinstance(value, list) else value
    return flat
