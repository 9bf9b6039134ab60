"""Tables of the book and README, made from the records in results/: no number is typed by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from geoguide.errors import DataError
from geoguide.experiments import records
from geoguide.experiments.presets import DEFAULT_TEACHER, LONG_SEEDS, TEACHERS, teacher_row
from geoguide.experiments.profiles import STUDIES, STUDY_SEEDS, study, under_protocols
from geoguide.experiments.records import Record
from geoguide.frozen import from_dict
from geoguide.paths import results_root
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.protocols import STEPS

ROWS = ("2D fusion", "entire network", "adapter only", "mean-pooled superpoints")


VARIANTS = ("full", "without usd", "without imr", "without iirc", "only usd", "only imr", "only iirc", "no module")


NO_VERDICT = "no verdict: not trained to convergence"


def paper(table: str) -> dict[str, dict[str, float | None]]:
    """A table of the paper from results/paper.json, the one place that holds the paper's numbers; None = not stated."""
    return json.loads((results_root() / "paper.json").read_text())[table]


def interval(values: np.ndarray, confidence: float = 0.95) -> float:
    """Half width of the t interval of the mean over seeds; NaN for fewer than two values."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values))


def frame(found: list[Record] | None = None, dataset: str = "mini-scannet") -> pd.DataFrame:
    """One line per record: name, seed, mIoU and mAcc on test and validation scenes, convergence, source.

    found: by default the records of `dataset` under the book's own protocol, scored on its own test scenes.
    """
    if found is None:
        found = [r for r in records.read_all() if r["config"]["data"]["dataset"] == dataset and plain(r)]
    if not found:
        raise DataError(f"{results_root()}: no records of {dataset}; run `geoguide replicate`")
    lines = [
        {
            "id": r["id"],
            "row": r["name"],
            "seed": r["seed"],
            "miou": r["metrics"]["miou"],
            "macc": r["metrics"]["macc"],
            "val_miou": r["validation"]["miou"],
            "converged": None if r["training"] is None else r["training"]["converged"],
            "source": r["source"],
        }
        for r in found
    ]
    return pd.DataFrame(lines).sort_values(["row", "seed"], ignore_index=True)


def plain(record: Record) -> bool:
    """Scored as the book's chapters do unless they say otherwise: own test scenes, default protocol (any mode)."""
    config = from_dict(ExperimentConfig, record["config"])
    return config.evaluation.data is None and config.protocol in (Protocol(), Protocol(mode="fusion"))


def row_order() -> list[str]:
    """Every row of the ablation in reading order."""
    return [*ROWS, *(f"{p}/{v}" for p in ("as-written", "works-best") for v in VARIANTS)]


def summary(lines: pd.DataFrame, reference: str | None = None) -> pd.DataFrame:
    """Mean and 95 % interval per row; with `reference` (a row or 'preset/full') also the paired difference in mIoU.

    Differences pair the same seed of both rows, so what the seeds share cancels.
    """
    rows = []
    for name in [r for r in row_order() if r in set(lines["row"])]:
        mine = lines[lines["row"] == name].set_index("seed")
        row = {"row": name, "seeds": len(mine)}
        row["converged"] = converged(mine)
        for metric in ("miou", "macc"):
            row[metric], row[f"{metric}_ci"] = mine[metric].mean(), interval(mine[metric])
        other = reference
        if reference == "full" and "/" in name:
            other = f"{name.split('/')[0]}/full"
        if other is not None and other in set(lines["row"]) and name != other and "/" in name:
            for metric in ("miou", "macc"):
                gap = (mine[metric] - lines[lines["row"] == other].set_index("seed")[metric]).dropna()
                row[f"{metric}_gap"], row[f"{metric}_gap_ci"] = gap.mean(), interval(gap)
        rows.append(row)
    return pd.DataFrame(rows)


def converged(lines: pd.DataFrame) -> str:
    """How many of a row's trainings did, '4 of 5'; '' where nothing was trained (2D fusion)."""
    trained = lines["converged"].dropna()
    return f"{int(trained.sum())} of {len(trained)}" if len(trained) else ""


def with_interval(mean: float, half: float, signed: bool = False) -> str:
    """'53.4 ± 0.3', '+1.2 ± 0.4', or '' where there is no value."""
    if mean is None or np.isnan(mean):
        return ""
    text = f"{mean:+.1f}" if signed else f"{mean:.1f}"
    return text if half is None or np.isnan(half) else f"{text} ± {half:.1f}"


def ablation_table(lines: pd.DataFrame) -> pd.DataFrame:
    """The ablation as shown: paper's figure (real ScanNet), ours (mini, simulated teacher), paired change to full."""
    stated, table = paper("scannet_openseg"), []
    for row in summary(lines, "full").to_dict("records"):
        variant = row["row"].split("/")[-1]
        table.append(
            {
                "row": row["row"],
                "paper mIoU (ScanNet v2)": stated.get(variant, {}).get("miou") or "not stated",
                "ours mIoU (mini)": with_interval(row["miou"], row["miou_ci"]),
                "ours mAcc (mini)": with_interval(row["macc"], row["macc_ci"]),
                "Δ mIoU to full": with_interval(row.get("miou_gap"), row.get("miou_gap_ci"), signed=True)
                if row.get("miou_gap") is not None
                else "",
                "Δ mAcc to full": with_interval(row.get("macc_gap"), row.get("macc_gap_ci"), signed=True)
                if row.get("macc_gap") is not None
                else "",
                "seeds": row["seeds"],
                "converged (mini)": row["converged"],
            }
        )
    return pd.DataFrame(table)


def preliminary_table(lines: pd.DataFrame) -> pd.DataFrame:
    """The preliminary experiment as shown: each way to use the 2D features under each 2D model, beside the paper."""
    stated, table = paper("scannet_openseg"), []
    for teacher in TEACHERS:
        for row in ("2D fusion", "entire network", "adapter only"):
            mine = lines[lines["row"] == teacher_row(row, teacher)]
            if mine.empty:
                continue
            told = stated.get(row, {}) if teacher == DEFAULT_TEACHER else {}  # the paper's LSeg amounts are not stated
            scores = {
                f"ours {label} (mini)": with_interval(mine[metric].mean(), interval(mine[metric]))
                for metric, label in (("miou", "mIoU"), ("macc", "mAcc"))
            }
            table.append(
                {"2D model (simulated)": teacher, "row": row}
                | {f"paper {m} (ScanNet v2)": told.get(m.lower()) or "not stated" for m in ("mIoU", "mAcc")}
                | scores
                | {"seeds": len(mine), "converged": converged(mine)}
            )
    return pd.DataFrame(table)


def paired(lines: pd.DataFrame, row: str, reference: str, metric: str = "miou") -> np.ndarray:
    """Difference `row` minus `reference` for every seed that both have."""
    scores = [lines[lines["row"] == name].set_index("seed")[metric] for name in (row, reference)]
    return (scores[0] - scores[1]).dropna().to_numpy(float)


def against(lines: pd.DataFrame, row: str, reference: str, metric: str = "miou") -> np.ndarray:
    """As `paired`; where nothing is trained (2D fusion) one score stands for every seed."""
    one = lines[(lines["row"] == reference) & lines["converged"].isna()]
    if len(one) == 1:
        return lines.loc[lines["row"] == row, metric].to_numpy(float) - float(one[metric].iat[0])
    return paired(lines, row, reference, metric)


def base_row(row: str) -> str:
    """A row without the name of its 2D model."""
    return next((row.removesuffix(f", {teacher}") for teacher in TEACHERS if row.endswith(f", {teacher}")), row)


def labelled(lines: pd.DataFrame, where: str) -> pd.DataFrame:
    """The same lines, every row called after where it was scored: 'adapter only (houses)'."""
    return lines.assign(row=lines["row"] + f" ({where})")


def settled(lines: pd.DataFrame, *rows: str) -> bool:
    """Whether most trainings of each row had converged: else no verdict."""
    done = lines[lines["row"].isin(rows)].assign(converged=lambda part: part["converged"].fillna(True).astype(bool))
    return bool((done.groupby("row")["converged"].mean() > 0.5).all())


def differences(lines: pd.DataFrame, row: str, references: list[str], confidence: float = 0.95) -> pd.DataFrame:
    """Paired differences of a row to others that were run, each with the verdict on "the row scores higher"."""
    table = []
    for other in references:
        for metric in ("mIoU", "mAcc"):
            gap = against(lines, row, other, metric.lower())
            if len(gap) == 0:
                continue
            told = verdict(gap, confidence) if settled(lines, row, other) else NO_VERDICT
            shown = with_interval(gap.mean(), interval(gap, confidence), signed=True)
            table.append({"row": row, "minus": other, "metric": metric, "difference": shown, "seeds": len(gap)})
            table[-1]["the row scores higher"] = told
    columns = ["row", "minus", "metric", "difference", "seeds", "the row scores higher"]
    return pd.DataFrame(table, columns=columns)


def verdict(gap: np.ndarray, confidence: float = 0.95) -> str:
    """What paired differences say of "the first is better": the whole interval above zero, below, or neither."""
    half = interval(gap, confidence)
    if np.isnan(half):
        return "too few seeds"
    side = 1 + int(gap.mean() > half) - int(-gap.mean() > half)
    return ("contradicted on mini", "undecided", "holds on mini")[side]


def study_table(folder: Path | None = None) -> pd.DataFrame:
    """Measured effect of single options (ambiguity ledger): paired differences to the unchanged configuration."""
    table = []
    for option in STUDIES:
        pairs = [tuple(records.find(c, folder) for c in study(option, seed)) for seed in STUDY_SEEDS]
        pairs = [pair for pair in pairs if None not in pair]
        if not pairs:
            continue
        row = {"option": option, "compared with": pairs[0][0]["name"]}
        for split, key in (("validation", "validation"), ("test", "metrics")):
            gaps = np.array([changed[key]["miou"] - base[key]["miou"] for base, changed in pairs])
            row[f"Δ mIoU, {split} (mini)"] = with_interval(gaps.mean(), interval(gaps), signed=True)
        table.append(row | {"seeds": len(pairs)})
    return pd.DataFrame(table)


def protocol_table(folder: Path | None = None) -> pd.DataFrame:
    """Trained networks of a few seeds under every protocol of `STEPS`: how far does a protocol move a number?

    Differences are to the first protocol, paired by seed; protocols without records are not listed.
    """
    names = [*STEPS] * len(LONG_SEEDS)  # the order of `under_protocols`
    pairs = [(name, records.find(config, folder)) for name, config in zip(names, under_protocols(), strict=True)]
    scores = pd.DataFrame([{"protocol": n, "seed": r["seed"], **r["metrics"]} for n, r in pairs if r is not None])
    if scores.empty:
        return scores
    by_name, table = {m: scores.pivot(index="seed", columns="protocol", values=m) for m in ("miou", "macc")}, []
    for name in [name for name in STEPS if name in by_name["miou"]]:
        row = {"protocol": name}
        for metric, label in (("miou", "mIoU"), ("macc", "mAcc")):
            values, first = by_name[metric][name].dropna(), by_name[metric].get(next(iter(STEPS)))
            row[f"{label} (mini)"] = with_interval(values.mean(), interval(values))
            gap = pd.Series(dtype=float) if first is None or first.name == name else (values - first).dropna()
            row[f"Δ {label}"] = with_interval(gap.mean(), interval(gap), signed=True)
        table.append(row | {"seeds": len(values)})
    return pd.DataFrame(table)


def region_line(found: list[Record]) -> str:
    """The quality of the regions that the modules depend on (claim C11), mean over the records."""
    mean = pd.DataFrame([r["regions"] for r in found if r["config"]["masks"]["source"] == "geometry"]).mean()
    return (
        f"Regions behind these rows, against the annotation: superpoints {mean['superpoint_purity']:.0%} pure; "
        f"instance masks (from geometry alone) AP50 {mean['mask_ap50']:.2f}, "
        f"mean best IoU {mean['mask_mean_best_iou']:.2f}."
    )


def markdown(table: pd.DataFrame) -> str:
    """A GitHub-flavoured table."""
    head = "| " + " | ".join(table.columns) + " |"
    rule = "|" + "|".join("---" for _ in table.columns) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(str(v) for v in row) + " |" for row in table.to_numpy())])
