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
# # Reproduced on this machine
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
import json

import pandas as pd
from IPython.display import Markdown

from geoguide.experiments.environment import environment
from geoguide.paths import runs_root

path = runs_root() / report
result = json.loads(path.read_text()) if path.is_file() else None

# %%
if result is None:
    answer = f"**Not checked on this machine**: `runs/{report}` does not exist. Run `make book` or `geoguide verify`."
else:
    largest = max(max(abs(r["difference_miou"]), abs(r["difference_macc"])) for r in result["rows"])
    answer = f"**Reproduced: {'yes' if result['reproduced'] else 'no'}.** "
    answer += f"Over {len(result['rows'])} runs the largest difference is {largest:.2f} points of mIoU or mAcc; "
    answer += f"{result['tolerance']:g} is allowed. "
    answer += "Every score is identical. " if result["identical"] else ""
    answer += f"The generated rooms are {'the same' if result['same_data'] else 'NOT the same'} as the committed ones."
Markdown(answer)

# %%
columns = ["name", "seed", "committed_miou", "fresh_miou", "difference_miou", "difference_macc", "within", "seconds"]
rows = pd.DataFrame(result["rows"] if result else [], columns=columns)
rows.style.hide(axis="index").format(precision=2)

# %% [markdown]
# ## The machine

# %%
machine = dict(result["environment"]) if result else environment()
machine |= machine.pop("packages")
pd.Series(machine, name="value").to_frame()

# %% [markdown]
# ## What we found
# The answer in bold above is the finding: training is deterministic on one machine, while other processors round
# differently and training amplifies it, hence the tolerance.
#
# ## Where we differ
# Only the quick profile is rerun here: one seed of every row of the ablation, and the adapter and
# *works-best* in houses and streets. `make replicate` recomputes every seed,
# and the entire network of chapter 01, which takes several times as long.
