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
# # 10 Running on the real data
#
# **Question.** What does it take to run all this on the real benchmarks: downloads, commands, disk, time, memory?
#
# > Users of OpenScene and its relatives ask for ways to use less memory, and report numbers that they cannot reproduce
# > for lack of the protocol. (What made us stream features from disk, and name protocols.)
#
# You need a benchmark's points and labels, fused 2D features in OpenScene's format, Sonata's weights, and (for the text
# side of CLIP) one extra; images only to fuse features anew. **Nobody has run this chapter's commands on a whole
# benchmark yet**: the readers are tested on real recordings and against the official code, the path from fused features
# to a record on a small folder in the same layout, and the loader at real size. Times below are measured where they say
# so, and otherwise worked out from measured quantities.

# %% tags=["parameters"]
disk_gb_per_s = 1.0  # reading speed of your disk
gpu_tflops = 20.0  # what your GPU really reaches in bf16 on matrices of this size, not what its data sheet says

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

import geoguide
from geoguide.benchmarks import NAMES, benchmark, benchmarks
from geoguide.datasets.formats.files import read_json
from geoguide.datasets.splits import load_split
from geoguide.errors import require
from geoguide.experiments.cost import RATES, compared, real_costs
from geoguide.experiments.presets import adapter_only
from geoguide.ops.arrays import number
from geoguide.report.sources import under

package = Path(geoguide.__file__).parent

# %% [markdown]
# ## What to download
# OpenScene published points, labels and fused features of all three benchmarks (`scripts/download_dataset.sh` and
# `scripts/download_fused_features.sh` in its repository; unpack everything into one folder). Sizes are those its
# scripts state. The official releases need a signed agreement each: ScanNet (kaldir.vc.in.tum.de/scannet),
# Matterport3D (niessner.github.io/Matterport), nuScenes with lidarseg (nuscenes.org); their layouts are read as well.
# ScanNet as Pointcept preprocesses it (`coord.npy` and other arrays in a folder for each scene) has no images, but its
# points are in the order of the mesh: it can be scored, and trained on with OpenScene's fused features beside it.

# %% tags=["hide-input"]
published = pd.read_csv(package / "datasets" / "published.csv")
known = published["gigabytes"].map("{:g}".format)
published["gigabytes"] = known.where(published["gigabytes"].notna(), "not available to us")
under(published.style.hide(axis="index"), package / "datasets" / "published.csv", "")

# %% [markdown]
# OpenScene lists LSeg features of Matterport3D, and nuScenes' train features, as not published. Without features of the
# training scenes a benchmark can be scored in fusion mode, but not trained on. Make them from the images, with a 2D
# model of your choice: `--features open_clip:...` (or `transformers:`, `litert:`, `own:`) in place of a folder's name
# looks at the images while scenes are prepared, and `geoguide lift` writes what it says as OpenScene's files, for this
# and other code ("Pretrained networks" has the names).
#
# ## The commands
# From the top of the repository; `DATA` is the folder with OpenScene's folders in it, or with the official release
# (of ScanNet also Pointcept's).
#
#     pip install -c constraints.txt -e '.[clip]'                           # CLIP's text encoder
#     hf download facebook/sonata sonata.pth --local-dir weights            # not for commercial use
#     geoguide data check DATA                                              # what is there, what is broken
#     geoguide replicate --profile main --dataset scannet --data DATA \
#         --features scannet_multiview_openseg --weights weights/sonata.pth
#     papermill notebooks/04_main_table.ipynb out.ipynb -p dataset scannet -p data DATA \
#         -p features scannet_multiview_openseg -p weights weights/sonata.pth
#
# `environment.yml` is the same with a CUDA build of torch and spconv. `replicate` prepares every scene once (a progress
# bar; what is done is kept when it is interrupted), trains every row of the main table, and writes a record each to
# `results/scannet/`; the notebook then shows them. `--protocol strict` scores in one pass with absent classes left out;
# chapter 07 shows how far a protocol moves a number. Caches go to `$GEOGUIDE_DATA` (else `data/`).
#
# **Splits.** ScanNet and nuScenes withhold the labels of their test scenes: "test" here is the official validation
# split, as OpenScene scores it, and the curve that training watches is of a few scenes held out of the training split.

# %%
rooms = {name: {split: len(load_split(name, split)) for split in ("train", "val", "test")} for name in NAMES}
units = {"scannet": "scans", "matterport3d": "houses", "nuscenes": "scenes of about 40 key frames"}
table = pd.DataFrame(rooms).T.assign(unit=units, label_set={there.name: there.label_set for there in benchmarks()})
under(table, "10_real_data")

# %% [markdown]
# ## Disk, time and memory of every step

# %% tags=["hide-input"]
here = Path("benchmarks").is_dir()
bench = Path("benchmarks/results").resolve() if here else package.parent / "benchmarks" / "results"

# %% tags=["hide-input"]
size, *cases = read_json(bench / "streaming.json", {"rows": list})["rows"]
stream = {row["case"]: row for row in cases}
encoder = read_json(bench / "backbone.json", {"rows": list})["rows"][0]
step, whole = stream["training"], stream["ours, whole"]
subsets, gib = stream["ours, subsets"], step["peak_mb_in_all"] / 1024
Markdown(f"Measured with a synthetic folder at ScanNet's size ({size['points']:,} points, {size['channels']} "
         f"channels, {size['points_per_step']:,} points a step): the loader gives {whole['scenes_per_second']:.1f} "
         f"scenes a second from files of a whole scene ({whole['ratio_of_speed']:.1f} times `torch.load`) and "
         f"{subsets['scenes_per_second']:.1f} from files of random subsets ({subsets['ratio_of_speed']:.1f} times). A "
         f"training run with all three modules takes **{gib:.1f} GiB** of memory at most, mapped files included, and "
         f"waits {step['waiting_share']:.1%} of its time for the loader.")

# %% [markdown]
# Below, "measured" is on one processor thread here; "one GPU" is worked out from the operations a step takes and the
# two speeds in the parameter cell alone (moving data within the GPU is not in it), so change these to yours:
# `-p gpu_tflops 40 -p disk_gb_per_s 3`.

# %%
disk_gb_per_s, gpu_tflops = number("disk_gb_per_s", disk_gb_per_s), number("gpu_tflops", gpu_tflops)
for name, speed in (("disk_gb_per_s", disk_gb_per_s), ("gpu_tflops", gpu_tflops)):
    require(speed > 0, f"{name} must be positive, found {speed:g}")
shared = 10  # points of a scan per voxel of Sonata's 8 cm level, whose features are stored once
scans = rooms["scannet"]["train"] + rooms["scannet"]["val"]
frozen_mb = size["points"] * (size["frozen_channels"] * 2 / shared + 44) / 2**20
config = adapter_only(0)
batch_mb = size["points_per_step"] * 2 * (size["channels"] + size["frozen_channels"] / shared) / 2**20
gpu_step = max(step["tflop_per_step"] / gpu_tflops, batch_mb / 1024 / disk_gb_per_s)
steps = 20 * rooms["scannet"]["train"]
entire = 100 * rooms["scannet"]["train"] // benchmark("scannet").openscene.scenes_per_step
per_scan = encoder["seconds"]["ours"] * size["points"] / encoder["points"]

# %% tags=["hide-input"]
at = f"{encoder['peak_gib']['ours']:.1f} GiB at {encoder['points']:,} points"
second, hour = step["seconds_per_step"], steps / 3600
columns = ["step (ScanNet v2)", "disk", "measured, one thread", "one GPU, at least"]
table = [
    ("frozen features, once", f"{frozen_mb * scans / 1024:.0f} GB", f"{per_scan:.0f} s a scan, {at}", "not measured"),
    ("one training step", f"{batch_mb:.0f} MB read", f"{second:.1f} s, {gib:.1f} GiB", f"{gpu_step * 1000:.0f} ms"),
    (f"one training, {steps:,} steps", "a checkpoint", f"{hour * second:.0f} h", f"{hour * gpu_step:.1f} h"),
    (f"entire network, {entire:,} steps", "a checkpoint", "out of reach", "OpenScene's recipe: days"),
]
under(pd.DataFrame(table, columns=columns).style.hide(axis="index"), bench / "streaming.json")

# %% [markdown]
# The same for each benchmark, one training with all modules, from rates that `benchmarks/cost.py` measured and checked
# against runs of other sizes (`geoguide cost` works it out for your own scenes):

# %%
under(real_costs(gpu_tflops), RATES)

# %% [markdown]
# Memory here counts the points of the scenes that stay open as generated scenes hold them, so it is a high guess where
# few points of each are kept. Do the rates hold for whole runs? Each row below is one kind of run on generated scenes:
# training, validation and scoring as predicted, and the median of its records. `times` is measured over predicted. (The
# memory of the program and of open scenes was taken from two of these kinds of run, which hold by themselves.)

# %%
runs_compared = compared()
under(runs_compared.style.format(precision=2), RATES)

# %% tags=["hide-input"]
within = {unit: (runs_compared[f"{unit} within 30 %"] == "yes").sum() for unit in ("seconds", "MB")}
most = {unit: runs_compared[f"{unit}, times"].max() for unit in within}
Markdown(f"Of {len(runs_compared)} kinds of runs memory is within thirty percent in {within['MB']}, time in "
         f"{within['seconds']}. Beyond, up to {most['seconds']:g} times the time and {most['MB']:g} times the memory "
         "that were predicted were measured.")

# %% tags=["hide-input"]
(streets,) = read_json(RATES, {"beyond": list})["beyond"]
Markdown(f"Preparing a street scene took {streets['measured'] / streets['predicted']:.1f} times what rooms' rates "
         "say, likely since a point of LiDAR and an image of a street cost more than a room's.")

# %% [markdown]
# **Time does not hold everywhere.** It is a wall clock's, of records that were computed beside other trainings on two
# cores, some with the preparation of their scenes; others found a checkpoint and are far too fast. The likely reason of
# a slow row is that load, which no record notes. What is predicted is an idle thread.

# %% [markdown]
# Memory and time of one step by its points and superpoints, on one thread, beside the adapter alone on the same points
# (`times`). `products` compares the matrix products alone, of which no faster way to do the rest takes less.

# %% tags=["hide-input"]
table = []
for row in read_json(bench / "training_step.json", {"rows": list})["rows"]:
    line = {"points": row["points"], "superpoints": row["superpoints"], "adapter, MB": row["adapter_only"]["peak_mb"]}
    for name in ("as_written", "works_best"):
        told, case = name.replace("_", "-"), row[name]
        line |= {f"{told}, MB": case["peak_mb"], f"{told}, times": case["times_adapter_only"],
                 f"{told}, products": case["products_times_adapter_only"]}
    table.append(line)
formats = {name: "{:,.0f}" if name.endswith(("points", "MB")) else "{:.2f}" for name in table[0]}
under(pd.DataFrame(table).style.hide(axis="index").format(formats), bench / "training_step.json")

# %% [markdown]
# **Several GPUs.** A training fits one; rows and seeds need no result of each other. `geoguide replicate --workers N`
# on a machine with N GPUs gives each worker one of them, so a table takes as long as its rows divided by N. One
# training by several GPUs is `geoguide train --devices N`: a step then averages N scenes, which makes it another
# experiment, whose record `--record` writes. A cluster is `geoguide replicate --engine snakemake`. The steps and points
# per step for real data are a guess (`geoguide.experiments.placing.real`); tell us what converges.
#
# ## On your own scans
# `geoguide segment` takes a mesh, a cloud, an RGB-D folder or a nuScenes key frame (see the README); `geoguide train
# --data DATA --features ...` writes a model that `geoguide segment --model` then uses with CLIP's words. Seconds from
# the command to the written file, of two real recordings with the packaged model, a process of its own each time:

# %% tags=["hide-input"]
scans = read_json(bench / "segment.json", {"rows": list})
columns = {"scan": "", "points": "points", "frames": "frames", "seconds": "seconds", "imports": "of these imports",
           "work": "of these the rest", "runs": "runs (medians)"}
labelled = pd.DataFrame(scans["rows"]).convert_dtypes().reindex(columns=list(columns)).rename(columns=columns)
under(labelled.style.hide(axis="index").format(precision=1, thousands=",", na_rep=""), bench / "segment.json")

# %% tags=["hide-input"]
first, processors = scans["rows"][0], f"{scans['machine']['cpus']} processors"
Markdown(f"On {processors} ({scans['machine']['processor']}, a load of {scans['machine']['load']:.1f} at the end). "
         f"`torch` alone takes {first['imports_of']['torch']:.1f} of the {first['imports']:.1f} s of imports.")

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
one = stream["torch.load, whole"]["peak_mb_in_all"] / 1024
Markdown(f"Memory is no obstacle: {gib:.1f} GiB for a training at real size with {size['scenes']} scenes open (a whole "
         f"split takes more: *memory* in the table of costs), where one `torch.load` of a single scene peaks at "
         f"{one:.1f} GiB. Reading is none either: the loader is {whole['ratio_of_speed']:.1f} to "
         f"{subsets['ratio_of_speed']:.1f} times as fast as loading whole files. What costs is the download, "
         f"{published['gigabytes'].iloc[2]} GB for ScanNet's OpenSeg features.")

# %% [markdown]
# ## Where we differ
# - Fused features of every training scan are drawn one random subset at a time, as OpenScene does; superpoints and
#   masks are of the whole scan.
# - OpenScene's point files have no faces: superpoints are then cut on a nearest-neighbour graph. In the official layout
#   they are ScanNet's own.
# - Instance masks come from geometry, not from Mask3D, unless you bring a folder of Mask3D's output or of a submission
#   to ScanNet's benchmark, an index `<scene>.txt` for each scene: `geoguide train --masks FOLDER`. `--masks learned`
#   takes those of a small packaged network, `--masks learned+geometry` both (chapter 15).
# - OpenScene gives nuScenes points a feature only where they have a label, so labels decide what is supervised there;
#   reading its files we inherit that.
