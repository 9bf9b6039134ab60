# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 Reproduced on this machine
#
# **Question.** Do the committed numbers come out again on the machine that built this book?
#
# > A result that others cannot recompute is a story.
#
# `make book` generates the mini rooms, runs every stage and every row of the ablation with one seed, and compares the
# scores with the committed records. This page shows that comparison.

# %% tags=["parameters"]
report = "verify-quick.json"  # in runs/

# %%
import pandas as pd
from IPython.display import Markdown

from geoguide.experiments.environment import environment
from geoguide.experiments.records import planned, read_all
from geoguide.paths import results_root, runs_root
from geoguide.report.parameters import read_report
from geoguide.report.sources import under
from geoguide.report.wall_time import hours_by_profile, minutes_by_method

COLUMNS = {"dataset": "benchmark", "name": "row", "seed": "seed", "committed_miou": "mIoU, committed",
           "fresh_miou": "mIoU, here", "difference_miou": "Δ mIoU", "difference_macc": "Δ mAcc",
           "within": "within", "same_data": "same scenes", "seconds": "seconds"}
result = read_report(report, ("rows", "reproduced", "identical", "tolerance", "environment"))
path, made_by = runs_root() / report, "geoguide verify --profile quick"

# %%
rows = pd.DataFrame(result["rows"] if result else [], columns=list(COLUMNS))
change = rows[["difference_miou", "difference_macc"]].abs()

# %% tags=["hide-input"]
if result is None:
    answer = f"**Not checked on this machine**: `runs/{report}` does not exist. Run `make book` or `geoguide verify`."
elif not result["reproduced"]:
    answer = f"**Not reproduced**: {(~rows['within']).sum()} of {len(rows)} rows differ by more than is allowed."
else:
    same = "to the last digit" if result["identical"] else "within what is allowed"
    answer = f"**Reproduced {same}**: {len(rows)} of {len(rows)} rows."
if result:
    answer += f" Allowed are {result['tolerance']:g} points of mIoU or mAcc; the largest difference is "
    answer += f"{change.max().max():.2f}."
Markdown(answer)

# %% [markdown]
# By benchmark. The data's fingerprint is taken over the bytes of the generated scenes: a processor or a library that
# rounds one coordinate otherwise changes it, and the scores then need not agree to the last digit.

# %% tags=["hide-input"]
told = rows.assign(largest=change.max(axis=1)).groupby("dataset", sort=False).agg(
    rows=("name", "size"), within=("within", "sum"), largest=("largest", "max"), same=("same_data", "sum"))
told = told.rename(columns={"within": "within what is allowed", "largest": "largest difference (points)",
                            "same": "rows on scenes of the same fingerprint"})
under(told.style.format(precision=2), path, made_by)

# %% tags=["hide-input"]
shown = rows[list(COLUMNS)].rename(columns=COLUMNS)
shown[["Δ mIoU", "Δ mAcc"]] = shown[["Δ mIoU", "Δ mAcc"]].astype(float).round(2) + 0.0  # no "-0.00"
under(shown.style.hide(axis="index").format(precision=2), path, made_by)

# %% [markdown]
# ## How long does everything take?
# What `geoguide replicate --profile NAME --force` would take, one process after the other, by the wall time of the
# committed records; without `--force` rows that have a record are not run again. With two workers on two idle cores it
# is about half. Some ran beside others, and took longer for it. A profile whose experiments have not all been run takes
# longer than the hours here. Without a name it is `all` (`make replicate`): the small edition's tables but for
# `studies` and the profiles from `systems` on. Records of no profile are of the real rooms, which chapter 14 runs on
# your own copy, and of rows that were run once.

# %%
records = read_all()
every = "geoguide replicate --profile NAME"
shown = hours_by_profile(records).style.hide(axis="index").format({"hours": "{:.1f}"})
under(shown, results_root(), every)

# %% [markdown]
# Minutes of a single run, with the preparation of its scenes where these were not there yet:

# %% tags=["hide-input"]
view = minutes_by_method(planned(records)).style.hide(axis="index").format(precision=1)
under(view, results_root(), every)

# %% [markdown]
# ## The machine

# %%
machine = dict(result["environment"]) if result else environment()
machine |= machine.pop("packages")
under(pd.Series(machine, name="value").to_frame(), path, made_by)

# %% [markdown]
# ## What we found
# The answer in bold above is the finding: training is deterministic on one machine, while other processors round
# differently and training amplifies it, hence the tolerance.
#
# ## Where we differ
# Only the quick profile is rerun here: one seed of every row of the ablation, and the adapter and *works-best* in
# houses and streets. `geoguide verify --profile full` compares every seed of the ablation and of chapter 01, whose
# entire network takes several times as long; `geoguide replicate --profile NAME --force` computes the rest again, in
# place of the committed records.
