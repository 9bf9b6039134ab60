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
# # 14 Real scenes
#
# **Question.** What does the method do on a real room, with real 2D networks and their real errors?
#
# > On ScanNet with OpenSeg features, removing any one of the three modules lowers mIoU and mAcc. (Claim C3; the paper's
# > numbers are of the whole benchmark, with Sonata, CLIP's text space and large 2D models.)
#
# The numbers here are **real**, and few: one ScanNet room, `scene0000_00`, which is learned from *without its
# labels*, and `scene0000_01`, another scan of the same room, which is labelled *without any image*. Small real
# networks that know a closed set of names stand for the 2D model: their class probabilities times the MiniLM text of
# the names. The frozen features are hand-made descriptors, or the mini backbone, which never saw a real room. **One
# room proves nothing**; it shows what the generated world gets right and what not.

# %% tags=["parameters"]
data = ""  # folder of ScanNet (holding scans/, official names); empty: show the committed records alone
models = "mini:lseg-mini"  # 2D model to run there, as for `geoguide train --features`; a list: all rows of the first
train = ["scene0000_00"]  # learned from: images, no labels
more = "scene0113_00"  # some rows learn from it as well, where it lies there; without `data` not read
weights = ""  # file of Sonata's weights: some rows that are run on `data` learn on its frozen features as well
scored = ["scene0000_00", "scene0000_01"]  # scored one by one: labels, no images but for the rows that train nothing
seeds = [0, 1, 2, 3, 4]  # of the rows that are run on `data`; the committed ones are shown with all that they have
confidence = 0.95

# %%

import pandas as pd
from IPython.display import Markdown

from geoguide.datasets.formats.files import read_json
from geoguide.experiments import real_rooms
from geoguide.experiments.pools import run_all
from geoguide.experiments.records import read_all
from geoguide.paths import clone, results_root
from geoguide.report import figures
from geoguide.report import real_rooms as report
from geoguide.report import real_rooms_story as story
from geoguide.report.evidence import check_confidence
from geoguide.report.key_frame import key_frame_recall
from geoguide.report.ledger import verdicts
from geoguide.report.parameters import need_text, several_names, several_seeds
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## The runs
# Every row learns from the same frames, for the same number of steps, unless its line says otherwise. That number was
# set after a first trial on this room, so it is not wholly independent of the labels; nothing else was
# chosen here: the presets are those of the other chapters. With `-p data PATH` the rows are run on your ScanNet, and
# stay as records for the next time: with a 2D model of this package, or with those that `models` names. The line under
# each table has the command that makes the committed ones.

# %% tags=["hide-input"]
check_confidence(confidence)
need_text(data=data, weights=weights)
train, scored, more = (several_names(*part) for part in (("train", train), ("scored", scored), ("more", more)))
models = several_names("models", models)
seeds, there_is = several_seeds(seeds), real_rooms.present(data, more)
if data:
    rows = real_rooms.real_rooms(data, models, train=train, more=there_is, scored=scored, seeds=seeds, weights=weights)
    found = run_all(rows, workers=None)
    left_out = f" Not there, so that no row learns from it: {', '.join(more)}." if more and not there_is else ""
else:
    found, left_out = [record for record in read_all() if report.is_of_rooms(record)], ""

# %% tags=["hide-input"]
lines = report.frame(found)
report.need_scenes(lines, train, scored)
first = lines["teacher"].value_counts().idxmax()
main = report.plain(lines, first, ", ".join(train))
here, there = scored[0], scored[-1]
Markdown(f"{len(found)} records; {lines['classes'].max()} of the 20 classes occur, the others are left out of the "
         f"means. 2D models: {', '.join(lines['teacher'].unique())}.{left_out}")

# %% [markdown]
# ## Without training
# What the lifted 2D features score by themselves, averaged over superpoints, and averaged over the annotated objects
# (an oracle): how much could geometry repair at best? Points that no camera sees count as wrong.

# %% tags=["hide-input"]
still = lines[lines["backbone"] == ""]
under(report.table(still, ["teacher", "row"], confidence).style.hide(axis="index"), found)

# %% [markdown]
# ## Trained
# Distilled from the frames of the first scene, on descriptors. *Works-best by gradient* has the weights of the losses
# that the validation rooms of the large edition asked for (chapters 07 and 15), unchanged; with all of their settings
# (schedule, rate, and means of regions over all points of the room) it stands further below, *as in large rooms*. The
# other rows have those of the small edition. The row with learned masks, where it was run, has those of a packaged
# network that knows generated rooms only, beside those from geometry (chapter 15). The oracle rows have annotated
# masks, and superpoints cut where annotated objects end. mIoU over the classes that occur, and accuracy, in %.

# %% tags=["hide-input"]
trained = main[main["backbone"] != ""]
scores = report.table(trained, ["row"], confidence)
under(scores.style.hide(axis="index"), found)

# %% tags=["hide-input"]
home = trained[trained["scored"] == there]
bars = {row: home.loc[home["row"] == row, "miou"].tolist() for row in scores["row"]}
under(figures.seed_bars(bars, title=f"Real: mIoU on {there}, distilled without labels on {here} alone", zoom=True),
      found)

# %% [markdown]
# ## What each part adds
# Less the adapter alone, and less the full method, paired by seed, with a verdict as the claims ledger has them
# (chapter 08), corrected over the lines of each table that are judged. The seeds draw the training; the room, the
# frames and the 2D model are always the same, so an interval says nothing of other rooms. A row whose trainings had not
# settled has no verdict (the rule: *Does training settle?*, below).

# %% tags=["hide-input"]
less_adapter = report.differences(main, report.ADAPTER, confidence)
under(less_adapter.style.hide(axis="index"), found)

# %% tags=["hide-input"]
less_full = report.differences(main, report.FULL, confidence)
under(less_full.style.hide(axis="index"), found)

# %% [markdown]
# ## What the side of normals changes
# These scans have no faces, so normals are estimated, and the side to which they look is found: towards the cameras
# where these are known, by a rule elsewhere. Descriptors and superpoints both read them. *Before* no side is known. The
# linear probe of descriptors is fitted to labels of the first scan and scored on the second (five draws of points):

# %% tags=["hide-input"]
measured = clone() / "benchmarks" / "results" / "normals.json"
rows = [row for row in read_json(measured, {"rows": list})["rows"] if "normals" in row]
sides = pd.DataFrame(rows).rename(columns={"miou": "linear probe, mIoU", "purity": "superpoint purity"})
sides["scans"] = sides["scene"].fillna(sides["task"].str.split(", ").str[-1])
columns = ["superpoints", "superpoint purity", "linear probe, mIoU"]
sided = sides.pivot(index="scans", columns="normals", values=columns)[columns].dropna(axis="index", how="all")
shown = {(name, when): f"{{:{'.1f' if 'probe' in name else '.3f' if 'purity' in name else '.0f'}}}"
         for name, when in sided.columns}
under(sided.style.format(shown, na_rep=""), measured)

# %% tags=["hide-input"]
change = (sided.xs("after", axis=1, level=1) - sided.xs("before", axis=1, level=1)).mean()
Markdown(f"With a side the linear probe changes by **{change[columns[2]]:+.1f} points** of mIoU, the purity of "
         f"superpoints by **{change[columns[1]]:+.3f}** (mean over the scans), and their number by "
         f"{change[columns[0]]:+.0f} a scan.")

# %% [markdown]
# ## By class
# Thin and rare classes are where a method that averages over surfaces can lose.

# %% tags=["hide-input"]
compared = [report.ADAPTER, report.FULL, report.BY_GRADIENT, *report.ORACLES.values()]
iou = report.class_iou(found, main[main["scored"] == there], compared)
iou = iou.sort_values(iou.columns[0], ascending=False)
under(figures.class_bars({row: iou[row] for row in iou}, list(iou.index), title=f"Real: IoU per class on {there}"),
      found)

# %% [markdown]
# ## Other 2D models, other frozen features, a second room
# The adapter and the better preset once more: with all settings of the large edition, which were chosen on its
# validation rooms and are run here as they are; with other 2D models; on the mini backbone, which was pretrained on
# generated rooms; with a second room to learn from; and trained for twice as long. On the mini backbone both also learn
# from the room as the network reads it augmented, and anew in each of as many steps (chapter 01 has this for generated
# rooms).

# %% tags=["hide-input"]
rest = lines[(lines["backbone"] != "") & ~lines["record"].isin(main["record"])]
keys = ["row", "teacher", "backbone", "learned from", "steps", "settings"]
view = report.table(rest, keys, confidence).style.hide(axis="index") if len(rest) else Markdown("No records yet.")
under(view, found)

# %% [markdown]
# The better preset, and both in augmented rooms, less the adapter, each on the same 2D model, frozen features, rooms
# and seeds.

# %% tags=["hide-input"]
groups = {", ".join(str(part) for part in key if part != ""): report.differences(mine, report.ADAPTER, confidence)
          for key, mine in rest.groupby(keys[1:], sort=False)}
names = ["2D model, frozen features, rooms, steps, settings", ""]
under(pd.concat(groups, names=names).droplevel(1) if groups else None, found)

# %% tags=["hide-input"]
Markdown("\n".join(story.unchanged_findings(lines, confidence) + story.augmented_findings(lines)))

# %% [markdown]
# ## Does training settle?
# The loss of the adapter and of the full method in both settings, by seed. No curve of scores is drawn: it would have
# to be drawn on labels. So the loss has to judge: the terms that follow the 2D features (point and superpoint), the
# last quarter of a training against the third. **The rule**: where in half or more of its trainings they still fall by
# more than a tenth, or rise, a row has no verdict.

# %% tags=["hide-input"]
runs = {}
for row in (report.ADAPTER, report.FULL, report.BY_GRADIENT):
    held = [found[n] for n in main.loc[(main["row"] == row) & (main["scored"] == there), "record"]]
    runs[row] = [([step["step"] for step in record.history],
                  [step["point"] for step in record.history]) for record in held]
under(figures.curves(runs, title="Real: the point term of the loss", y_title="1 - cosine", log_y=True), found)

# %% tags=["hide-input"]
under(report.settling(lines, ["row", *keys[1:]]).style.hide(axis="index"), found)

# %% tags=["hide-input"]
Markdown("\n".join(story.rule_findings(lines, read_all()) + story.longer_findings(lines)))

# %% [markdown]
# ## Beside the generated rooms
# The same differences on generated rooms, as the ledger has them (chapter 08, claim C3), with other frozen features: do
# the signs agree? The weights of the losses are those of the small edition, or by gradient, of the large one; each row
# stands beside the edition that it has them from. A sign counts where there is a verdict on it.

# %% tags=["hide-input"]
beside = story.beside_generated(main, verdicts(confidence=confidence, claims=["C3"]), confidence)
under(story.beside_table(beside).style.hide(axis="index"), found)

# %% tags=["hide-input"]
Markdown("\n".join(story.beside_findings(beside)))

# %% [markdown]
# ## Outdoors: one key frame
# One key frame of nuScenes: a network that knows Cityscapes' classes looked at its six images, its answers were lifted
# to the LiDAR points, and the boxes are the truth. Recall in %, by the network's own names and through the text space;
# empty where it does not know the class. Of most classes there are few points, so this table shows that the route
# works, and ranks nothing.

# %%
under(key_frame_recall(), results_root() / "key_frame.json")

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
by_class = [line for scene in scored for line in story.class_findings(found, main[main["scored"] == scene])]
Markdown("\n".join(story.findings(main, scored) + story.pooled_findings(still, first) + by_class))

# %% [markdown]
# ## Where we differ
# - The paper's 2D models are OpenSeg and LSeg in CLIP's text space; ours are small closed-set networks in MiniLM's.
# - The paper's frozen features are Sonata's, whose weights are not part of this package: with them, add
#   `-p weights FILE` (chapter 10 says where they are), and the adapter and the better preset learn on them as well.
#   Descriptors know far less.
# - This copy of the scans has vertices without faces: superpoints come from the cloud, normals are estimated and
#   turned to the cameras; ScanNet's own over-segmentation is not used.
# - The room lies in the official train split. Nothing here is learned from labels, but no number here is a
#   benchmark's.
# - Chapter 13 says what the errors of these networks look like, beside the simulated ones of the other chapters.
