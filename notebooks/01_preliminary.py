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
# # 01 Preliminary: freeze the 3D backbone, or train it all?
#
# **Question.** Is a small adapter on frozen geometric features better than a 3D network trained entirely on the 2D
# features?
#
# > With OpenSeg features on ScanNet v2, a frozen 3D backbone with an MLP adapter beats training the entire 3D network
# > (OpenScene), in both mIoU and mAcc; with LSeg the adapter alone drops slightly. (Claim C1)

# %% tags=["parameters"]
seeds = [0, 1]  # the entire network takes several times as long as an adapter

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

from geoguide import figures, records, tables
from geoguide.experiments import adapter_only, fusion, openscene

figures.use_offline_renderer()

# %% [markdown]
# ## Three ways to use the same 2D features
# - **2D fusion**: the lifted features themselves; nothing is trained, and images are needed at inference.
# - **entire network**: OpenScene's 3D network (MinkUNet18A, narrowed, on coarser voxels, so that one processor core can
#   train it), trained from scratch on the same rooms with the same loss, with OpenScene's augmentation.
# - **adapter only**: frozen descriptors and a trained MLP.
#
# Each run is looked up in `results/` by its configuration and computed only when it is not there.

# %%
runs = {
    "2D fusion": [records.get(fusion(seeds[0]), progress=False)],
    "entire network": [records.get(openscene(seed), progress=False) for seed in seeds],
    "adapter only": [records.get(adapter_only(seed), progress=False) for seed in seeds],
}
lines = tables.frame([record for rows in runs.values() for record in rows])
tables.ablation_table(lines).style.hide(axis="index").format(precision=1)

# %% [markdown]
# The paper's column is ScanNet v2 with OpenSeg; ours is mini data with a simulated 2D model. The two columns may be
# compared in sign, never in size.

# %%
values = {row: [r["metrics"]["miou"] for r in found] for row, found in runs.items()}
figures.seed_bars(values, title="mIoU on the mini test rooms", reference="2D fusion")

# %% [markdown]
# ## Did they train long enough?
# The last column of the table above counts the runs that did.

# %%
curves = {}
for row in ("entire network", "adapter only"):
    histories = [pd.DataFrame(r["training"]["history"]) for r in runs[row]]
    curves[row] = [(history["step"], history["val_miou"]) for history in histories]
figures.curves(curves, title="mIoU on the validation rooms during training", y_title="mIoU (%)")

# %% [markdown]
# ## Class by class

# %%
iou = {row: pd.DataFrame([r["metrics"]["iou"] for r in found]).astype(float).mean() for row, found in runs.items()}
names = list(iou["adapter only"].index)
figures.class_bars(iou, names, title="IoU per class, mean over seeds (mini test rooms)")

# %% [markdown]
# ## What we found

# %%
gaps = {}
for metric in ("miou", "macc"):
    pairs = zip(runs["adapter only"], runs["entire network"], strict=True)
    gap = np.array([a["metrics"][metric] - e["metrics"][metric] for a, e in pairs])
    gaps[metric] = tables.with_interval(gap.mean(), tables.interval(gap), signed=True)
Markdown(f"Adapter minus entire network, paired by seed, on mini data: **{gaps['miou']}** mIoU points and "
         f"**{gaps['macc']}** mAcc points ({len(seeds)} seeds, 95 % interval).")

# %% [markdown]
# ## Where we differ
# - Mini rooms and a simulated 2D model in place of ScanNet v2 with OpenSeg; there is no LSeg here, so the second
#   half of the claim is untested.
# - The frozen features are hand-made descriptors in place of Sonata's, and the entirely trained network is a narrowed
#   one that has seen a few dozen rooms: this chapter tests the machinery and the sign of the effect, not its size.
