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
# # 12 How this code is laid out
#
# **Question.** Which room of the package holds what, what may import what, and where does a change belong?
#
# > Data flows one way: from the scene over the 2D model and the lifting to features of points, from the frozen backbone
# > to superpoints and masks, then adapter, objective, text, scores, records, figures. (This book's design.)
#
# Everything below is read from the code when the book is built. `make lint` holds the layers and refuses circles.

# %% tags=["parameters"]
room = "method"  # whose design note is shown below: any folder of the package

# %%
import pandas as pd
from IPython.display import Markdown

from geoguide.errors import check_known
from geoguide.paths import PACKAGE
from geoguide.report import figures, layout
from geoguide.report.sources import under

figures.use_offline_renderer()

# %% [markdown]
# ## The picture
# A room is a module or a folder of `geoguide/`. It stands on the lowest floor that is above everything it imports, and
# its size is its number of lines. Point at a room to see what it imports.

# %% tags=["hide-input"]
rooms, circle = layout.read_house(PACKAGE)
under(figures.import_picture(rooms, title="Rooms of the package and what imports what"), "12_layout")

# %% [markdown]
# ## The rooms

# %% tags=["hide-input"]
table = pd.DataFrame([{"floor": r.floor, "room": r.name, "lines": r.lines, "what it is for": r.purpose} for r in rooms])
under(table.sort_values(["floor", "room"], ascending=[False, True]).style.hide(axis="index"), "12_layout")

# %% [markdown]
# ## A room's design note
# Every folder has a `design.md`: what comes in, what goes out, and what may be changed where.

# %% tags=["hide-input"]
check_known("room", room, sorted(str(note.parent.relative_to(PACKAGE)) for note in PACKAGE.rglob("design.md")))
Markdown((PACKAGE / room / "design.md").read_text(encoding="utf-8"))

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
arrows, floor_of = sum(len(r.imports) for r in rooms), {r.name: r.floor for r in rooms}
up = [f"{r.name} → {name}" for r in rooms for name in r.imports if floor_of[name] >= r.floor]
Markdown(f"{len(rooms)} rooms on {max(r.floor for r in rooms)} floors, {arrows} arrows, "
         f"{'none runs up' if not up else 'running up: ' + ', '.join(up)}; circles: {' → '.join(circle) or 'none'}.")

# %% [markdown]
# ## Where we differ
# The paper has no code to compare with. Peers keep one script per dataset and one global argument object; here a
# benchmark is one object, an experiment one frozen config, and a student, a backbone, a 2D model or a benchmark is
# added by one class or one file.
