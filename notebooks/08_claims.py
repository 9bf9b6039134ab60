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
# # 08 The claims ledger
#
# **Question.** Which of the paper's claims hold in this replication so far?
#
# > Twelve claims, C1 to C12, are stated in the paper or follow from it; each is tested, partly tested or not yet
# > tested.
#
# A verdict here is about **mini** data with simulated 2D models and a small backbone pretrained on generated rooms. It
# is evidence about the method's mechanism, not about the paper's numbers.

# %% tags=["parameters"]
confidence = 0.95

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

from geoguide import tables
from geoguide.experiments import OTHER_BACKBONES, TEACHERS, teacher_row

lines = tables.frame()
lines = lines[~lines["row"].str.startswith("study/")]  # no single-option studies
ready = lines.assign(converged=lines["converged"].fillna(True).astype(bool)).groupby("row")["converged"].mean() > 0.5

# %% [markdown]
# ## How a verdict is reached
# Differences are paired by seed. *Holds on mini* means that the whole interval lies on the claimed side,
# *contradicted on mini* that it lies on the other side, *undecided* that it contains zero. There is no verdict where
# most runs of a row were still improving when their training ended.

# %%
tests = []
for teacher in TEACHERS:
    pair = [teacher_row(row, teacher) for row in ("adapter only", "entire network")]
    tests.append(("C1", *pair, f"frozen backbone + adapter beats training the entire network ({teacher})"))
for name in OTHER_BACKBONES:
    tests.append(("C12", "adapter only", f"adapter only on {name}", f"the pretrained mini backbone beats {name}"))

# %%
for variant in ("as-written", "works-best"):
    for module in ("usd", "imr", "iirc"):
        claim = f"removing {module.upper()} lowers the scores ({variant})"
        tests.append(("C3", f"{variant}/full", f"{variant}/without {module}", claim))
tests.append(("C3", "works-best/full", "adapter only", "all three together beat the adapter alone"))
for module in ("usd", "imr", "iirc"):
    tests.append(("C3", f"works-best/only {module}", "adapter only", f"{module.upper()} alone beats the adapter alone"))
    tests.append(("C4", "works-best/full", f"works-best/only {module}", f"all three beat {module.upper()} alone"))
tests.append(("C3", "works-best/full", "mean-pooled superpoints", "all three together beat plain superpoint pooling"))
tests = [test for test in tests if {test[1], test[2]} <= set(lines["row"])]  # rows that were run

# %%
rows = []
for number, better, worse, claim in tests:
    for metric in ("mIoU", "mAcc"):
        gap = tables.paired(lines, better, worse, metric.lower())
        half, verdict = tables.interval(gap, confidence), tables.verdict(gap, confidence)
        verdict = verdict if ready[[better, worse]].all() else "no verdict: not trained to convergence"
        rows.append({"claim": number, "what": claim, "metric": metric, "seeds": len(gap), "verdict": verdict,
                     "difference": tables.with_interval(gap.mean(), half, signed=True)})
pd.DataFrame(rows).style.hide(axis="index")

# %% [markdown]
# ## C6: do mIoU and mAcc rise together?

# %%
means = lines[lines["row"].isin(tables.row_order())].groupby("row")[["miou", "macc"]].mean()
together = np.corrcoef(means["miou"], means["macc"])[0, 1]
Markdown(f"Over the {len(means)} rows of the ablation, mean mIoU and mean mAcc correlate with **{together:.2f}**.")

# %% [markdown]
# ## What we found
# The table above holds every verdict that this edition can reach. The others wait for their data:
#
# | claim | state |
# |---|---|
# | C2 GeoGuide beats OpenScene and SAS on ScanNet v2, nuScenes, Matterport3D | not tested: needs the real benchmarks |
# | C5 the gain holds for LSeg, OpenSeg and SAS features alike | not tested: the modules ran on one 2D model |
# | C7 in the long tail GeoGuide leads and degrades least | not tested: needs larger label sets |
# | C8 inference costs the same as backbone and adapter | by construction: the saved model holds the adapter alone |
# | C9 gain over OpenScene with OpenSeg on ScanNet v2 | not tested: needs real data |
# | C10 cross-domain transfer | not tested |
# | C11 the modules depend on masks and superpoints | masks: a study in chapter 07; superpoints: not varied |
# | C12 stronger 3D pretraining helps further | in the table: pretrained against untrained and hand-made features |
#
# ## Where we differ
# The paper compares with other methods on real benchmarks. This ledger compares the method with itself, less its
# parts, on generated rooms.
