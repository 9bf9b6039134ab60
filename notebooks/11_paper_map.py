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
# # 11 The paper map: from each concept to its code and its chapter
#
# **Question.** Where in the code is a given equation of the paper, and which chapter shows what it does?
#
# > Superpoints, instance masks and the relations between instances guide the 2D features; an adapter on a frozen 3D
# > backbone learns from them; at inference only the point cloud and words are needed. (The paper, in brief.)
#
# The table is data (`geoguide/report/paper_map.csv`), and tests hold it both ways: every symbol exists and speaks of
# its concept, every chapter does too, and no function that cites the paper is missing.

# %% tags=["parameters"]
paper = "all"  # or one section or module of the paper: USD, IMR, IIRC, Total, ...

# %%
import html
import inspect

import pandas as pd
from IPython.display import Markdown

from geoguide.errors import check_known
from geoguide.report.paper_map import paper_map
from geoguide.report.sources import under

# %% tags=["hide-input"]
check_known("paper", paper, ["all", *dict.fromkeys(line.paper for line in paper_map())])
lines = [line for line in paper_map() if paper in ("all", line.paper)]
table = pd.DataFrame([{
    "paper": line.paper,
    "concept": line.concept,
    "chapter": f'<a href="{line.chapter}.html">{line.chapter[:2]}</a>',
    "in geoguide": line.symbol.removeprefix("geoguide.").replace(".", ".<wbr>"),  # may be broken after a dot
    "in words": html.escape(inspect.getdoc(line.resolve()).split("\n")[0]),
} for line in lines])
under(table.style.hide(axis="index"), "11_paper_map")

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
by_part = table["paper"].value_counts(sort=False)
Markdown(f"{len(table)} concepts of {len(by_part)} parts of the paper have a symbol and a chapter.")

# %% [markdown]
# ## Where we differ
# The concepts are the paper's; how they are cut into functions is ours, since no official code exists. Options that the
# paper leaves open are in the ambiguity ledger, chapter 07.
