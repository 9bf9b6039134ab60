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
# # 05 Long tail: what is left as the classes multiply?
#
# **Question.** How do the scores fall as the same scenes are scored on ever more and ever rarer classes, and does IIRC,
# which makes similarities between instances follow geometry, slow the fall?
#
# > In the long tail of Matterport3D, from the few classes to the many, GeoGuide leads OpenScene and DMA and degrades
# > least, and the paper credits this to inter-instance relation consistency. (Claim C7)
#
# Matterport3D's label sets are its K most frequent object names. **One** trained network is scored on all four, by
# comparing the same features with more and more names. Training never sees any of them, but for DMA and the second
# stages of SAS and GGSD, which learn words: they are told the names of the largest set.

# %% tags=["parameters"]
edition = "small"  # of generated houses; "large": as far as its rows were run (chapter 15)
data = "mini"  # or the folder of real Matterport3D, in its official layout or in OpenScene's
features = None  # the edition's own 2D model; or another's name; for real data the folder of fused 2D features
seeds = [0, 1, 2, 3, 4]

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

from geoguide.experiments import run
from geoguide.experiments.presets import PRESETS, SEEDS
from geoguide.experiments.profiles import main_table, systems
from geoguide.experiments.records import find_all, only, pick
from geoguide.labels import load_label_set
from geoguide.paths import results_root
from geoguide.report import evidence, figures, long_tail, tables
from geoguide.report import main_table as benchmark_tables
from geoguide.report.labels import labelled, row_label
from geoguide.report.ledger import verdicts
from geoguide.report.ledger_page import story
from geoguide.report.parameters import need_text, of_seeds, several_seeds
from geoguide.report.rows import ADAPTER, ENTIRE, FULL, FUSION, geoguide, system
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## The runs
# The rows of the main table (chapter 04) on houses, and both presets without IIRC. A run that is not in `results/` is
# computed now. The other systems are shown as far as they were run (`geoguide replicate --profile systems-elsewhere`;
# of the large edition `large`).

# %%
need_text(features=features)
edition, seeds = edition if data == "mini" else "small", several_seeds(seeds, SEEDS)
configs = main_table("matterport3d", data, features, edition=edition)
found = run.get_all(of_seeds(configs, seeds, needed=True), edition)
usual = data == "mini" and features is None
others = find_all(of_seeds(systems("matterport3d", edition), seeds)) if usual else []
found = pick([*found, *others], {"changed": ()})
run.need(pick(found, FULL), "works-best in houses", edition)
ours = f"{found[0].provenance} Matterport3D"
lines = long_tail.by_size(found, edition)
order = [*(row for row, _ in benchmark_tables.LINES), *(geoguide(name, "iirc") for name in PRESETS)]
rows = [row for row in order if not only(lines, row).empty]

# %% [markdown]
# ## The label sets

# %%
about = lines.groupby("K")["occur"].max().rename("of them in our test scenes").to_frame()
groups = {size: pd.Series(load_label_set(name).group).value_counts() for size, name in long_tail.SIZES.items()}
under(about.join(pd.DataFrame(groups).T[["head", "common", "tail"]]), "05_long_tail")

# %% [markdown]
# ## mIoU against K
# A class that no test scene holds counts 0 in the mean, as in OpenScene's evaluation.

# %% tags=["hide-input"]
view = long_tail.class_table(lines, rows).style.hide(axis="index")
under(view.set_caption(f"mIoU (%), {ours}, absent classes count 0"), found)

# %% [markdown]
# The second reading leaves absent classes out of the mean.

# %% tags=["hide-input"]
second = long_tail.class_table(lines, rows, "miou_skip").style.hide(axis="index")
same = bool((lines["occur"] == lines["K"]).all())
said = Markdown("Every class of every label set is in the test scenes: both readings are the same.")
under(said if same else second, found)

# %% [markdown]
# The paper's table, for comparison in sign and shape, never in size:

# %% tags=["hide-input"]
paper = pd.DataFrame(tables.paper("long_tail_miou")).T.rename(columns="K = {}".format)
paper["kept from the first K to the last"] = (100 * paper.iloc[:, -1] / paper.iloc[:, 0]).map("{:.0f} %".format)
shown = paper.rename_axis("mIoU (%)").style.format(precision=1)
under(shown.set_caption("paper, real Matterport3D, OpenSeg features"), results_root() / "paper.json", "")

# %% tags=["hide-input"]
of_paper = (FUSION, ENTIRE, system("DMA", frozen=True), ADAPTER)
own = [geoguide(name, drop) for name in ("as-written", "works-best") for drop in ("none", "iirc")]
drawn = [row for row in rows if row in (*of_paper, *own)]
title = f"mIoU against the number of classes ({ours})"
under(figures.interval_lines(long_tail.spread(lines, drawn), title=title, x_title="classes K"), found)

# %% [markdown]
# ## Who degrades least?
# Each run's mIoU in per cent of the same run's mIoU on the smallest label set, so that a row that starts higher has no
# advantage.

# %% tags=["hide-input"]
kept = long_tail.share_kept(lines)
shares = {"title": f"What is left as classes are added ({ours})", "unit": "% of mIoU on the smallest set"}
under(figures.interval_lines(long_tail.spread(kept, drawn), x_title="classes K", **shares), found)

# %% tags=["hide-input"]
last = max(long_tail.SIZES)
rivals = [row for row in rows if row not in (FULL, geoguide("works-best", "iirc"))]  # without IIRC: see below
left = tables.differences(only(kept, {"K": last}), FULL, rivals).query("metric == 'mIoU'")
view = left.style.hide(axis="index").set_caption(f"share kept at K = {last}: paired differences in points of the share")
under(view, found)

# %% [markdown]
# ## By frequency of the class
# On the largest label set, classes in three bins by their number of annotated objects in Matterport3D.

# %% tags=["hide-input"]
bins = long_tail.by_frequency(found, edition=edition)
counts = bins.groupby("bin", sort=False)[["classes", "occur"]].max()
hits = labelled(bins, rows).groupby(["row", "bin"], sort=False)["hit"].mean().unstack()
view = long_tail.class_table(bins, rows, over="bin").style.hide(axis="index")
under(view.set_caption(f"mIoU (%) at K = {last}, {ours}"), found)

# %% tags=["hide-input"]
trained = [row for row in drawn if row != FUSION]
title = f"mIoU by frequency of the class, K = {last} ({ours}, trained rows)"
under(figures.interval_lines(long_tail.spread(bins, trained, over="bin"), title=title, x_title="bin", joined=False),
      found)

# %% [markdown]
# Of how many classes of each bin is any point right, on average over seeds?

# %% tags=["hide-input"]
whole = pd.DataFrame([counts["classes"]], index=["classes in the bin"])
under(pd.concat([whole, hits]).style.format(precision=1), found)

# %% [markdown]
# ## With and without IIRC
# Paired by seed: the preset without IIRC less the full one, at every K: below zero, IIRC helps.

# %% tags=["hide-input"]
pairs = {name: (geoguide(name, "iirc"), geoguide(name)) for name in PRESETS}
pairs = {name: pair for name, pair in pairs.items() if all(row in rows for row in pair)}
gain = {name: {size: evidence.paired(only(lines, {"K": size}), *pair) for size in long_tail.SIZES}
        for name, pair in pairs.items()}
title = f"What leaving out IIRC changes, at every K ({ours})"
under(figures.interval_lines(gain, title=title, x_title="classes K", unit="Δ mIoU, without less with (points)"),
      found)

# %% tags=["hide-input"]
effect = []
for name, (without, full) in pairs.items():
    for scale, part in (("mIoU (points)", lines), (f"share of mIoU at K = {min(long_tail.SIZES)} (points)", kept)):
        for size in long_tail.SIZES:
            if part is lines or size > min(long_tail.SIZES):
                told = tables.differences(only(part, {"K": size}), without, [full])
                told = told[told["metric"] == "mIoU"].drop(columns=["row", "minus", "metric"])
                effect.append(told.assign(preset=name, K=size, scale=scale))
effect = pd.concat(effect, ignore_index=True)[["preset", "scale", "K", "difference", "seeds"]]
under(effect.style.hide(axis="index"), found)

# %% [markdown]
# ## Did they train long enough?

# %%
ended = pd.DataFrame({row_label(row): [evidence.converged(only(lines, row | {"K": last})) or "nothing trained"]
              for row in rows}, index=["converged"]).T
under(ended, found)

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
Markdown("\n".join(story(verdicts([edition], claims=["C7"]))) or "- No test of claim C7 was run on this edition yet.")

# %% [markdown]
# These are the lines of the claims ledger (chapter 08). The same differences to other rows, and by preset:

# %% tags=["hide-input"]
text, full = [], row_label(FULL)
for rival in (ENTIRE, system("DMA"), system("DMA", frozen=True), ADAPTER, FUSION):
    ahead = {size: tables.differences(only(lines, {"K": size}), FULL, [rival]) for size in long_tail.SIZES}
    said = [f"{told['difference'].iat[0]} at K = {size}" for size, told in ahead.items() if len(told)]
    text.append(f"- **{full} minus {row_label(rival)}**, mIoU points: " + (", ".join(said) or "not run") + ".")
Markdown("\n".join(text))

# %% tags=["hide-input"]
text = [f"- **{full} less {row['minus']}**, the share of its mIoU that is kept from the first K to the last: "
        f"{row['difference']} points of the share." for _, row in left.iterrows()]
Markdown("\n".join(text))

# %% tags=["hide-input"]
share = labelled(only(kept, {"K": last}), rows).groupby("row")["miou"].mean().sort_values(ascending=False)
ranks = ", ".join(f"{row} {value:.0f} %" for row, value in share.items())
papers = ", ".join(f"{name} {value}" for name, value in paper.iloc[:, -1].items())
Markdown(f"- **What is kept** from K = {min(long_tail.SIZES)} to K = {last} ({ours}): {ranks}. In the paper (real "
         f"Matterport3D): {papers}.")

# %% tags=["hide-input"]
text = []
for name, part in effect.groupby("preset", sort=False):
    said, sizes = list(part["difference"]), len(long_tail.SIZES)
    text.append(f"- **Without IIRC less with, in {name}**, as K grows: {'; '.join(said[:sizes])} mIoU points; of the "
                f"share that is kept: {'; '.join(said[sizes:])} points.")
Markdown("\n".join(text))

# %% tags=["hide-input"]
tail = labelled(only(bins, {"bin": "tail"}), rows).groupby("row")[["miou", "hit"]].mean()
best, fused = tail.loc[[row_label(row) for row in trained], "miou"].idxmax(), row_label(FUSION)
Markdown(f"- **The tail itself**: the best trained row there is {best}, with {tail.loc[best, 'miou']:.1f} mIoU and "
         f"{tail.loc[best, 'hit']:.0f} of {counts.loc['tail', 'classes']} classes hit at all; 2D fusion has "
         f"{tail['miou'].get(fused, np.nan):.1f} and {tail['hit'].get(fused, np.nan):.0f}.")

# %% [markdown]
# ## Where we differ
# - Generated houses in place of Matterport3D, a simulated 2D model in place of OpenSeg. The simulated model knows all
#   the names of the largest label set and mistakes alike ones for each other. A real one presumably knows the tail less
#   well than the head, and nothing here simulates that: 2D fusion holds up in the tail better than it should.
# - Every class occurs in the few training houses, but most rare ones as a handful of objects. Their 2D features are
#   there; what a network cannot learn from so few is which shapes they belong to. Matterport3D has many more houses.
# - DMA, with which the paper's table compares too, is rebuilt from its paper and code (chapter 04), and shown as far as
#   it was run.
# - Names of the classes are embedded by a sentence encoder, for which many rare names are close together; CLIP's text
#   tower may separate them better or worse.
