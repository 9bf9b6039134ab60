"""How long the committed records took: a row at a time, and all rows of each profile."""

from collections.abc import Sequence

import pandas as pd

from geoguide.experiments.profiles import PROFILES, ids
from geoguide.experiments.records import Record
from geoguide.report.labels import PLACES

NO_PROFILE = "(of no profile)"  # real rooms, which chapter 14 runs, and rows that were run once and are in no list


def hours_by_profile(found: Sequence[Record]) -> pd.DataFrame:
    """The hours of each profile's records; one that several profiles have counts for each of them.

    Args:
        found: Every record that there is.

    Returns:
        A line per profile: `profile`, how many `experiments` it has, how many of these have `records`, and the `hours`
        that these took, one after the other. The last line has the records that no profile has.
    """
    seconds = {record.id: record.wall_seconds for record in found}
    lines, left = [], dict(seconds)
    for name in PROFILES:
        asked = ids(name)
        held = [seconds[one] for one in asked if one in seconds]
        left = {one: took for one, took in left.items() if one not in asked}
        lines.append({"profile": name, "experiments": len(asked), "records": len(held), "hours": sum(held) / 3600})
    rest = {"profile": NO_PROFILE, "experiments": 0, "records": len(left), "hours": sum(left.values()) / 3600}
    return pd.DataFrame([*lines, rest])


def minutes_by_method(found: Sequence[Record]) -> pd.DataFrame:
    """How long a single run takes.

    Args:
        found: Records; a row is their method (and preset), where its network was trained, and the edition, of which an
            experiment may name a few scenes.

    Returns:
        A line per row: `edition` ("real" for real rooms), `trained in`, `method`, how many `runs`, and the median and
        the longest of their minutes.
    """
    facts = [record.facts for record in found]
    lines = pd.DataFrame({
        "method": [f"{one.method}, {one.preset}" if one.preset else one.method for one in facts],
        "trained in": [PLACES[one.trained_on] for one in facts],
        "edition": [(r.facts.edition or r.facts.data) + (", few scenes" if r.config.data.first else "") for r in found],
        "minutes": [record.wall_seconds / 60 for record in found],
    })  # fmt: skip
    grouped = lines.groupby(["edition", "trained in", "method"], sort=False)["minutes"]
    table = grouped.agg(runs="size", **{"minutes, median": "median", "longest": "max"}).reset_index()
    return table.sort_values(["edition", "trained in", "minutes, median"], kind="stable", ignore_index=True)
