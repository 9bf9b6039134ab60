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
# # 00 Quick start: one room, from pixels to words
#
# **Question.** What does the method take in, what comes out, and what is in between?
#
# > Features of a 2D open-vocabulary model are projected to the points of a scene. A frozen, pretrained 3D model
# > supplies the geometry, and a lightweight MLP adapter on its features is the only thing kept at inference. There,
# > only the point cloud is needed: the adapter's features are compared by cosine with text embeddings. (The paper,
# > in brief.)
#
# Everything here is **mini** data: a generated room, scanned by a simulated RGB-D camera, with a simulated 2D model.
# The same functions read real ScanNet scenes.

# %% tags=["parameters"]
room = 4  # which room of the test split: an office
frame = 8  # which of its images to look at
word = "a place to sit"  # any words: nothing below was trained on them
variant = "works-best"  # or "as-written"
steps = 300  # training steps of this page; the records of the other chapters train longer

# %%
import itertools

import numpy as np
import pandas as pd
from IPython.display import Markdown, clear_output

from geoguide.benchmarks.scenes import list_sources
from geoguide.errors import require
from geoguide.experiments.presets import preset
from geoguide.ops.arrays import whole
from geoguide.pipeline.prepare import prepare
from geoguide.pipeline.stages import make_teacher
from geoguide.report import figures
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## A room
# `source.load()` reads files in ScanNet v2's layout: a mesh, its labels, and posed colour and depth images. Drag to
# turn, scroll to come closer.

# %% tags=["hide-input"]
steps = whole("steps", steps, 1)
config = preset(variant).replace(train__steps=steps, train__evaluate_every=max(1, steps // 10))
sources = list_sources(config.data, "test")
require(room in range(len(sources)), f"room must be 0 to {len(sources) - 1}, found {room}")
source = sources[room]
scene = source.load()
print(f"{scene.name} ({scene.provenance} data): {len(scene):,} points, {len(scene.views)} images")
title = f"{scene.name}: the reconstructed room in its own colours"
under(figures.show_cloud(scene.points, colors=scene.colors, title=title), "00_quickstart")

# %% [markdown]
# ## What the 2D model sees
# The teacher gives every pixel a feature in the space of the text embeddings, $F_\text{2d}^M$. It is simulated: the
# true classes of the image, spoilt by confusion of alike classes, bleeding over edges, partial views and drift with
# the viewpoint. Each pixel is shown in the colour of the class whose name it resembles most.

# %%
from geoguide.labels import load_category_table, load_label_set
from geoguide.text.minilm import MiniLMTextEncoder

labels = load_label_set(config.data.label_set)
text = MiniLMTextEncoder().encode(labels.names, prompt=config.protocol.prompt)  # [C, D]
require(frame in range(len(scene.views)), f"frame must be 0 to {len(scene.views) - 1}, found {frame}")
view = scene.views[frame]
features = next(itertools.islice(make_teacher(config).features(scene), frame, None))  # [H, W, D]
truth = labels.from_raw(load_category_table().nyu40(view.labels()))  # [H, W]

# %% tags=["hide-input"]
palette = np.full((256, 3), 200, np.uint8)  # what has no label is grey
palette[: len(labels)] = figures.class_colors(labels)
images = {"colour": view.color(), "2D model": palette[(features @ text.T).argmax(-1)], "truth": palette[truth]}
under(figures.show_images(images, title=f"Image {view.name} of {scene.name}"), "00_quickstart")

# %% [markdown]
# ## Lifting
# Every point collects the features of the pixels that see it, tested for occlusion against the depth image, and
# averages them: $F_\text{2d}$, one row per point. Some points are seen often, some never.

# %%
prepared = prepare(source, config)
print(f"{prepared.seen.mean():.1%} of the points are seen by at least one image")
title = "How many images see each point"
under(figures.show_cloud(scene.points, scalar=prepared.seen_by, scalar_name="images", title=title), "00_quickstart")

# %% [markdown]
# ## Training the adapter
# Frozen geometric features in, features of the text space out. The loss is $\lambda_1 L_\text{sp} + \lambda_2
# L_\text{mask} + \lambda_3 L_\text{sim}$; chapter 02 shows what each term does. This page trains briefly.

# %%
from geoguide.pipeline.train import fit

fitted = fit(config)
clear_output()  # the progress bars, which no page shows
history = pd.DataFrame(fitted.history)
curve = {variant: [(history["step"], history["val_miou"])]}
shown = figures.curves(curve, title="mIoU on the validation rooms during training", y_title="mIoU (%)")
under(shown, "00_quickstart")

# %% [markdown]
# ## The result on the room
# Left the truth, in the middle what the lifted 2D features say alone (grey: no image sees the point), right the
# adapter, which sees nothing but the point cloud. A click on a class in the legend hides it everywhere.

# %% tags=["hide-input"]
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.evaluate import predict

table = class_text(config.data.label_set, config.protocol)
guesses = {
    "2D features, lifted": predict(prepared, table, "fusion")[0],
    "adapter": predict(prepared, table, "distill", fitted.student)[0],
}
panels = {"truth": np.asarray(scene.labels), **guesses}
clouds = [figures.Panel(scene.points, name, labels=ids, label_set=labels) for name, ids in panels.items()]
under(figures.show_clouds(clouds, title=f"{scene.name}: classes", max_points=20_000), "00_quickstart")

# %% [markdown]
# ## Ask for a word
# Any text works, because both sides live in one space. The heat map is the cosine between every point's feature and
# the words of the parameter cell.

# %%
from geoguide.model import from_fit

model = from_fit(fitted, config)
heat = model.similarity(scene.points, scene.colors, scene.normals, text=word)
shown = figures.show_cloud(scene.points, scalar=heat, scalar_name="cosine", title=f"Where is “{word}”?")
under(shown, "00_quickstart")

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
from geoguide.metrics import ConfusionMatrix

rows = []
for name, ids in guesses.items():
    matrix = ConfusionMatrix(len(labels), no_feature=config.protocol.no_feature)
    matrix.update(scene.labels, ids)
    rows.append({"method": name, "mIoU (%)": 100 * matrix.miou(absent="skip"), "accuracy (%)": 100 * matrix.accuracy()})
under(pd.DataFrame(rows).style.hide(axis="index").format(precision=1), "00_quickstart")

# %% tags=["hide-input"]
near = scene.labels[np.argsort(heat)[-len(heat) // 50 :]]
top = pd.Series([labels.names[i] for i in near if i < len(labels)]).value_counts(normalize=True).head(3)
best = ", ".join(f"{name} ({share:.0%})" for name, share in top.items())
Markdown(f"Of the 2 % of the points most like “{word}”, the true classes are mostly {best}. One room proves nothing: "
         "the following chapters use every test room and several seeds.")

# %% [markdown]
# ## Where we differ
# - The room, its scan and the 2D model are generated; the paper uses ScanNet v2 with LSeg, OpenSeg and SAS.
# - The frozen backbone is a small network pretrained on generated rooms, not the released Sonata.
# - Words are embedded by a sentence encoder, not by CLIP's text tower.
# - This page trains for fewer steps than the records of the other chapters do.
