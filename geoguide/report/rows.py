"""The rows of the book's tables, as the facts that pick them from a frame or from a list of records."""

from geoguide.experiments import facts, regime
from geoguide.experiments.facts import Row
from geoguide.experiments.presets import DEFAULT_BACKBONE, DROPS, ON_FROZEN, PRESETS, SEEDS
from geoguide.method.objective import MODULES, parse_drop

# On generated data by edition and benchmark, and on real data, unless a row says otherwise.
OWN_BACKBONES = frozenset({DEFAULT_BACKBONE, "sonata", *regime.BACKBONES.values()})


FUSION: Row = {"method": facts.FUSION}


ENTIRE: Row = {"method": facts.ENTIRE}


# The backbone's own network trained whole: from scratch and from its pretrained weights.
SCRATCH, TUNED = ({"method": method} for method in (facts.SCRATCH, facts.TUNED))


STILL: Row = {"method": facts.STILL}  # the same network, batches and steps, of which the head alone learns


WHOLE: tuple[Row, ...] = (ENTIRE, SCRATCH, TUNED)  # networks trained whole


TRANSFORMERS: tuple[Row, ...] = (SCRATCH, TUNED, STILL)


ADAPTER: Row = {"method": facts.ADAPTER, "backbone": OWN_BACKBONES}


ON_DESCRIPTORS: Row = {"method": facts.ADAPTER, "backbone": "descriptors"}


POOLED: Row = {"method": facts.POOLED}


def system(name: str, *, frozen: bool = False) -> Row:
    """The row of another system of the paper's tables.

    Args:
        name: A key of `presets.SYSTEMS`.
        frozen: Whether its student is the adapter on the frozen backbone, in place of its own network.

    Returns:
        Its facts.
    """
    own = {"method": name + ON_FROZEN, "backbone": OWN_BACKBONES} if frozen else {"method": name}
    return own | {"changed": ()}


# GGSD, whose rate is not available to us, with a mean teacher that hardly moves; on the large edition.
SLOW_GGSD: Row = system("GGSD", frozen=True) | {"changed": (("train.self_distillation.keep", regime.SLOW_MEAN),)}


def geoguide(preset: str, drop: str = "none") -> Row:
    """The row of a preset, less some modules.

    Args:
        preset: Name in `presets.PRESETS`.
        drop: none, usd, imr, iirc, or several joined by +.

    Returns:
        Its facts; on the usual frozen features, as `ADAPTER`.
    """
    modules = parse_drop(drop)
    return {"method": facts.GEOGUIDE, "preset": preset, "modules": modules, "backbone": OWN_BACKBONES}


def full(row: Row) -> Row:
    """The row of the same preset with all modules.

    Args:
        row: Facts of a row.

    Returns:
        Its facts; of a row that is no preset's, the row itself.
    """
    return row | {"modules": MODULES} if row["method"] == facts.GEOGUIDE else row


def route(trained_on: str, tested_on: str | None = None) -> Row:
    """Where a network was trained and where it was tested.

    Args:
        trained_on: Benchmark.
        tested_on: Benchmark; None for the same.

    Returns:
        These facts, to be joined with those of a row.
    """
    return {"trained_on": trained_on, "tested_on": tested_on or trained_on}


AS_WRITTEN, FULL = (geoguide(preset) for preset in ("as-written", "works-best"))


# Every row that an ablation may have, in reading order.
ABLATION = (
    *(FUSION, ENTIRE, ADAPTER, POOLED),
    *(geoguide(preset, drop) for preset in PRESETS for drop in (*DROPS["works-best"], "usd+imr+iirc")),
)


def longer_rows() -> dict[str, Row]:
    """The rows of the large edition that train for longer than the others.

    Returns:
        Facts by name, in the order of `regime.longer`.
    """
    rows = {"adapter only": ADAPTER, "works-best": FULL, "works-best without IIRC": geoguide("works-best", "iirc")}
    configs = regime.longer(seeds=SEEDS[:1])
    return {
        name: row | {"changed": facts.Facts.of(config).changed}
        for (name, row), config in zip(rows.items(), configs, strict=True)
    }
