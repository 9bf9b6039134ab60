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
# **Question.** Is a small adapter on frozen, pretrained 3D features better than a 3D network trained entirely on the
# 2D features, and does the answer depend on the 2D model?
#
# > With OpenSeg features on ScanNet v2, a frozen 3D backbone with an MLP adapter beats training the entire 3D network
# > (OpenScene), in both mIoU and mAcc; with LSeg the adapter alone drops slightly. (Claim C1)

# %% tags=["parameters"]
edition = "small"  # of the generated rooms; "large": as far as its rows were run (chapter 15)
seeds = [0, 1, 2, 3, 4]  # of them networks trained whole have three: they take many times as long

# %%

import pandas as pd
from IPython.display import Markdown

from geoguide.datasets.formats.files import read_json
from geoguide.experiments import facts, regime, run
from geoguide.experiments.presets import CHAPTER_TEACHERS, SEEDS, TEACHERS
from geoguide.experiments.profiles import entire_networks, preliminary, profile
from geoguide.experiments.records import find_all, frame, only, pick
from geoguide.frozen import to_dict
from geoguide.paths import results_root
from geoguide.pretraining.probe_record import read_record
from geoguide.pretraining.probing import ProbeConfig
from geoguide.report import figures, tables
from geoguide.report.labels import row_label
from geoguide.report.ledger import verdicts
from geoguide.report.ledger_page import story
from geoguide.report.parameters import of_seeds, several_seeds
from geoguide.report.rows import ADAPTER, FUSION, STILL, TRANSFORMERS, WHOLE
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## Three ways to use the same 2D features
# - **2D fusion**: the lifted features themselves; nothing is trained, and images are needed at inference.
# - **entire network**: OpenScene's 3D network (MinkUNet18A, narrowed, on coarser voxels: what a run's budget of
#   processor time affords), trained from scratch on the same rooms with the same loss.
# - **Point Transformer**, where it was run: the backbone's own network, all of it trained, from scratch or
#   **fine-tuned** from its pretrained weights. The latter has the adapter's network and start; apart from freezing it
#   differs in what training a whole network takes here: whole, augmented rooms and more steps. The same **frozen** has
#   all of these too, and only its head, an adapter, learns: between these two nothing but freezing differs.
# - **adapter only**: the frozen mini backbone, pretrained without labels on generated rooms, and a trained MLP.
#
# ## Two characters of 2D model
# On the small edition both are simulated; a severity of zero turns a fault off. *OpenSeg-like* bleeds over boundaries
# and is noisy, but its mistakes change from view to view; *LSeg-like* is sharp and calm, but repeats its mistakes in
# every view, so that fusing views does not average them out. On the large edition (`-p edition large`) both were
# trained on rendered images of other rooms and look at pixels (chapter 13).

# %%
under(pd.DataFrame({name: to_dict(TEACHERS[name]) for name in CHAPTER_TEACHERS}), "01_preliminary")

# %% [markdown]
# Runs are looked up in `results/` by their configuration; of the small edition, what is not there is computed.

# %%
seeds = several_seeds(seeds, SEEDS)
configs = of_seeds(preliminary(edition), seeds, needed=True)
found = run.get_all(configs, edition)
run.need(pick(found, ADAPTER), "adapter only", edition)
if edition == "small":  # the transformers take most of an hour each, so that here too only what was run is shown
    whole = find_all(of_seeds(entire_networks(), seeds))
    found += [record for row in TRANSFORMERS for record in pick(whole, row)]
lines = frame(found, edition=edition)
under(tables.preliminary_table(lines).style.hide(axis="index").format(precision=1), found)

# %% [markdown]
# The paper's columns are ScanNet v2 with OpenSeg; ours are mini data. They may be compared in sign, never in size. The
# paper's figures with LSeg for this experiment are not available to us.

# %% tags=["hide-input"]
ways, models = (FUSION, *WHOLE, STILL, ADAPTER), list(dict.fromkeys(lines["teacher"]))
rows = [way | {"teacher": model} for model in models for way in ways]
rows = [row for row in rows if not only(lines, row).empty]
values = {row_label(row): only(lines, row)["miou"].tolist() for row in rows}
title = f"mIoU on the mini test rooms, {edition} edition"
under(figures.seed_bars(values, title=title, reference=row_label(FUSION | {"teacher": models[0]})), found)

# %% [markdown]
# ## Did they train long enough?
# The last column of the table above counts the runs that did. Networks trained whole within a budget also have a curve
# on the rooms they learn from: where it stays low, the network is too small for its budget (it underfits).

# %% tags=["hide-input"]
curves = {}
for row in rows:
    histories = [pd.DataFrame(record.history) for record in pick(found, row) if record.history]  # fusion trains nothing
    if histories:
        curves[row_label(row)] = [(history["step"], history["val_miou"]) for history in histories]
under(figures.curves(curves, title="mIoU on the validation rooms during training", y_title="mIoU (%)"), found)

# %% tags=["hide-input"]
curves = {}
for row in [row for row in rows if row["method"] in [way["method"] for way in (*WHOLE, STILL)]]:
    histories = [pd.DataFrame(record.history) for record in pick(found, row) if "train_miou" in record.history[-1]]
    if histories:  # OpenScene's networks of the small edition were trained before such curves were kept
        curves[row_label(row)] = [(history["step"], history["train_miou"]) for history in histories]
none = Markdown("*These networks were trained before such curves were kept.*")
title = "mIoU on rooms that are learned from, during training"
under(figures.curves(curves, title=title, y_title="mIoU (%)") if curves else none, found)

# %% [markdown]
# ## Class by class

# %% tags=["hide-input"]
shown = {row_label(row): tables.mean_iou(pick(found, row)) for row in rows if row["teacher"] == models[0]}
names = list(next(iter(shown.values())).index)
under(figures.class_bars(shown, names, title=f"IoU per class, {models[0]}, mean over seeds (mini test rooms)"), found)

# %% [markdown]
# ## How was the frozen backbone pretrained?
# Without labels, on generated rooms of which none is scored here: masked and local views predict what an averaged
# teacher says of the whole view, as prototypes (Sonata's manner), and what hand-made descriptors say of it (ours).
# The model card is `geoguide/weights/sonata-mini.md`; `geoguide pretrain` does it again.

# %% tags=["hide-input"]
from geoguide.backbones.sonata_mini import WEIGHTS

curves_file, made = WEIGHTS.with_suffix(".json"), f"geoguide pretrain {WEIGHTS.stem}"
history = pd.DataFrame(read_json(curves_file, {"history": list})["history"])
names = {"mask": "masked, same view", "roll": "masked, other view", "local": "local view", "describe": "descriptors"}
losses = {label: [(history["step"], history[name])] for name, label in names.items()}
view = figures.curves(losses, title="Terms of the pretraining loss, unweighted", y_title="loss", log_y=True)
under(view, curves_file, made)

# %% tags=["hide-input"]
looks = {"effective rank": [(history["step"], history["effective_rank"])]}
title = "Directions in use among the teacher's features: no collapse"
under(figures.curves(looks, title=title, y_title="effective rank"), curves_file, made)

# %% [markdown]
# ## What do the frozen features know?
# The mini backbone beside the same network untrained, hand-made geometric descriptors, and the same network trained on
# the rooms' labels: an upper bound for the network, given the steps it had. Probes are fitted on training rooms, chosen
# on validation rooms and scored on test rooms. The AUC says how often two instances of one category are more alike than
# two of different categories: the paper's key insight about pretrained 3D features, measured.

# %% tags=["hide-input"]
probed = results_root() / "backbones" / "probe.json"
probes = read_record(probed, ProbeConfig())["rows"]
auc = {name: row["instance_auc"]["test"] for name, row in probes.items()}
table = pd.DataFrame([
    {"frozen features": name, "width": row["width"], "linear probe mIoU": row["linear"]["test_miou"],
     "20-NN mIoU": row["knn"]["test_miou"], "AUC, objects within a room": auc[name]["objects_within"],
     "AUC, objects across rooms": auc[name]["objects_across"]}
    for name, row in probes.items()
])
under(table.style.hide(axis="index").format(precision=2), probed, "geoguide probe --help")

# %% tags=["hide-input"]
from geoguide import backbones
from geoguide.benchmarks.scenes import list_sources
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pretraining.probing import pca_colors

scene = list_sources(ExperimentConfig().data, "test")[4].load()
panels = [figures.Panel(scene.points, "the room", colors=scene.colors)]
for name in ("sonata-mini-untrained", "descriptors", "sonata-mini"):
    panels.append(figures.Panel(scene.points, name, colors=pca_colors(backbones.load(name).encode(scene))))
view = figures.show_clouds(panels, title="Three principal components of frozen features as colours", max_points=20_000)
under(view, "01_preliminary")

# %% [markdown]
# ## Does the pretraining matter to the adapter?
# The same adapter, teacher and rooms on other frozen features (claim C12: stronger 3D pretraining should help further).

# %% tags=["hide-input"]
adapters = only(lines, {"method": ADAPTER["method"], "teacher": models[0]})
kinds = dict.fromkeys(adapters["backbone"])
usual = next((name for name in kinds if name in (regime.BACKBONES["scannet"], "sonata-mini")), next(iter(kinds)))
scores = {name: only(adapters, {"backbone": name})["miou"].tolist() for name in kinds}
title = "Adapter only, by frozen features: mIoU on the mini test rooms"
under(figures.seed_bars(scores, title=title, reference=usual), found)

# %% [markdown]
# ## A ladder of frozen features
# Claim C12 says *stronger*, so the features climb: the untrained network, descriptors made by hand, the network
# pretrained for a tenth of its steps and for all of them, and both side by side. Always on the small edition of rooms
# and its OpenSeg-like 2D model. The linear probe says what each rung knows, the two next columns what a student makes
# of it. The last line is no rung: the adapter taught by labels, and beside it the probe of the network trained on
# labels. What says *no record* was not run (`geoguide replicate --profile ladder`).

# %% tags=["hide-input"]
from geoguide.report import ladder

climbers = find_all(profile("ladder"))
under(ladder.ladder_table(probes).style.hide(axis="index"), climbers)

# %% tags=["hide-input"]
rungs = {name: list(scores["adapter"].values()) for name, scores in ladder.climbed().items() if scores["adapter"]}
title = "Adapter only, up the ladder of frozen features: mIoU on the mini test rooms"
under(figures.seed_bars(rungs, title=title, reference="sonata-mini"), climbers)

# %% [markdown]
# The modules rest on the frozen features too: USD weighs 2D features with them, IMR completes masks in what the adapter
# makes of them, IIRC takes their similarities as its target. What each adds to the adapter, rung by rung, tells whether
# they need features that know something. IIRC's raw λ, chosen on sonata-mini, is another strength on features of
# another size (`iirc.scale`), so the last two columns weigh the losses by gradient, as on the large edition. Bold: most
# trainings had converged.

# %% tags=["hide-input"]
gaps, settled = ladder.module_gaps()
title = "What works-best's modules add to the adapter, up the ladder of frozen features"
view = figures.effect_heatmap(gaps, title=title, x_title="modules", y_title="frozen features", settled=settled)
under(view, climbers)

# %% tags=["hide-input"]
Markdown(ladder.weights_story(gaps))

# %% [markdown]
# Higher rungs exist elsewhere: pretrained on real scans, with weights that this package may not carry. Each is a
# backbone by name and file (`backbone.name`, `backbone.weights`), whose tensors are checked one by one. None of them
# was scored here.

# %% tags=["hide-input"]
from geoguide.backbones.checkpoints import RELEASES

Markdown("\n".join(f"- **{name}**: {release.how_to}." for name, release in RELEASES.items()))

# %% [markdown]
# ## What we found
# Was the control run that decides C1: the backbone's own network, all of it trained? OpenScene's network differs from
# the adapter in more than freezing.

# %% tags=["hide-input"]
asked = {"small": entire_networks(), "large": regime.entire() + regime.entire(regime.OPENSEG)}
whole, said = find_all([config for configs in asked.values() for config in configs]), []
for name in asked:
    for method in (facts.TUNED, facts.STILL, facts.SCRATCH):
        ran = len(pick(whole, {"edition": name, "method": method}))
        said.append(f"- {method}, {name} edition: {f'{ran} runs' if ran else '**has not been run**'}.")
ran = len(pick(whole, {"method": facts.TUNED}))
lacks = ("The tests below therefore compare the frozen network with another one, OpenScene's, and **never with the "
         "same network trained whole**.")
Markdown("\n".join(said) + ("" if ran else f"\n\n{lacks}"))

# %% tags=["hide-input"]
told = story(verdicts([edition], claims=("C1", "C12")))
Markdown("\n".join(told) or "- No test of the claims C1 and C12 was run on this edition yet.")

# %% [markdown]
# These are the lines of the claims ledger (chapter 08). The fine-tuned network differs from the adapter in its schedule
# too; the frozen one under that schedule tells the two apart:

# %% tags=["hide-input"]
cost = ladder.cost_of_freezing()
told_by = find_all([config for configs in ladder.freezing_rows().values() for config in configs])
under(Markdown(cost or "*The fine-tuned network, or the frozen one under its schedule, was not run.*"), told_by)

# %% [markdown]
# Each step up the ladder, as the adapter sees it:

# %% tags=["hide-input"]
under(ladder.steps_up().style.hide(axis="index"), climbers)

# %% [markdown]
# ## Where we differ
# - Mini rooms and simulated 2D models in place of ScanNet v2 with OpenSeg and LSeg. Their faults are our reading of
#   what the two real models do; no real error statistics went into them.
# - The frozen backbone is a small network in place of Sonata, pretrained for minutes on a few dozen generated rooms (on
#   the large edition: for an hour on that edition's training rooms and some more, and joined with descriptors). Its
#   pretraining also predicts hand-made descriptors, which Sonata's does not.
# - The entirely trained network is a narrowed copy on coarser voxels that has seen the same rooms as the adapter;
#   OpenScene's has seen a thousand. This chapter tests the sign of the effect with little data, not its size.
