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
# # 16 A model of your own scan
#
# **Question.** Can one scan with images become a model of itself, without a single label, and how would its owner know
# whether that model is any good?
#
# > The adapter is trained on a dataset's scenes; at inference a point cloud and words are enough. (The paper speaks of
# > datasets alone. A scan of one's own is a dataset of one.)
#
# `geoguide fit-scan my_rgbd_folder/ --labels "floor, cabinet, window"` does all that this page does: a 2D model looks
# at the images, its features are lifted to the points, superpoints and masks are found, and an adapter is distilled
# with USD, IMR and IIRC. Here the scan is a generated room whose annotation is taken away before, and looked at after.

# %% tags=["parameters"]
scan = None  # a folder of colour, depth and pose; None: a generated room
features = "mini:lseg-mini"  # the 2D model, as for `geoguide fit-scan --features`
backbone = "sonata-mini+descriptors"  # the frozen 3D features
steps = 500  # of the training
words = []  # what to ask for; empty: the names of ScanNet's classes

# %%
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython.display import Markdown, clear_output

from geoguide.labels import load_label_set
from geoguide.own_scan import Scan, fit, open_scan, segment_scan
from geoguide.own_scan.scan import palette
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.report import figures
from geoguide.report.parameters import need_text, several_names
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## From images to labels
# Of the images one in five is not learned from. Losses are weighed by gradient, so that no factor depends on the
# frozen features; on a real room that took the doors (chapter 14).

# %%
need_text(scan=scan, features=features, backbone=backbone)
config = ExperimentConfig()
words = several_names("words", words)
names = words or load_label_set(config.data.label_set).names
fit.settings(features, labels=names, backbone=backbone, steps=steps)  # all but the scan, which takes longer to open
room = scene_sources(config.data, "test")[0].load() if scan is None else open_scan(Path(scan)).scene
mine = Scan(replace(room, labels=None, instances=None))
fitted = fit.fit_scan(mine, features, labels=names, backbone=backbone, steps=steps)
clear_output()  # the progress bars, which no page shows
result = segment_scan(mine, fitted.model, names)
Markdown(f"`{mine.scene.name}`: {len(mine.scene):,} points, {len(fitted.learned.views)} images learned from, "
         f"{len(fitted.held_out)} held out; {fitted.seen.mean():.0%} of the points are seen by an image.")

# %% tags=["hide-input"]
own = (fitted.lifted @ fitted.teacher.model.text(names).T).argmax(1)
own = np.where(fitted.seen, own, 255)  # no image, no word
sets = {"lifted 2D features": own, "the scan's own model": result.ids}
official = load_label_set(config.data.label_set)
label_set = replace(official, names=names, colors=palette(len(names))) if words else official
clouds = [figures.Panel(room.points, "the scan", colors=room.colors)]
clouds += [figures.Panel(room.points, name, labels=ids, label_set=label_set) for name, ids in sets.items()]
view = figures.show_clouds(clouds, title="What the images say, and what their model says", max_points=20_000)
under(view, "16_own_scan")

# %% [markdown]
# ## A check without labels
# The 2D model says a word for every pixel of the images that were held out. How often does the model say the same word
# of the points that they see, and how often do the lifted features of the other images?

# %% tags=["hide-input"]
Markdown(fit.with_agreement(result, fitted).capitalize() + ".")

# %% [markdown]
# Agreement says what was learned, and not what is true: where a 2D model errs alike in every view, both figures are
# high for the wrong reason (chapter 13).
#
# ## What we found

# %% tags=["hide-input"]
found = result.summary["agreement"]
story = [f"- The model agrees with images that it has not seen on {found['model']:.0%} of their points, the lifted "
         f"features of the other images on {found['lifted']:.0%}."]
if room.labels is not None:
    known = room.labels != 255
    places = {"points that an image sees": known & fitted.seen, "points that none sees": known & ~fitted.seen}
    for where, chosen in places.items():
        right = [f"{name} {np.mean(ids[chosen] == room.labels[chosen]):.0%}" for name, ids in sets.items()]
        story.append(f"- Right by the annotation, on {where}: {', '.join(right)}.")
Markdown("\n".join(story))

# %% [markdown]
# ## Where we differ
# - The paper trains on hundreds of scans and says nothing of one. A model of one scan knows that scan; on another it is
#   as good as the two are alike.
# - The packaged 2D models were trained on generated rooms. For a real scan name one that was trained on real images:
#   `-p features transformers:NAME`, from the hub or a folder.
