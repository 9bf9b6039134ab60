"""The table of the real street: what a network for Cityscapes finds on nuScenes' key frame."""

import pandas as pd

from geoguide.paths import results_root
from geoguide.text_files import parse_json, read_text


def key_frame_recall() -> pd.DataFrame:
    """Make the table of recall on the real key frame, from results/key_frame.json (`benchmarks/key_frame.py`).

    Returns:
        A row for each of the ten classes of the boxes: its points, the share of them that a camera sees, and of those
        the recall in %, by the network's own names (empty where it does not know the class) and through the text space;
        and the network's most frequent answer. Empty where there is no record.

    Raises:
        DataError: The record cannot be read.
    """
    path = results_root() / "key_frame.json"
    if not path.is_file():
        return pd.DataFrame()
    rows = pd.DataFrame(parse_json(read_text(path, "record of the key frame"), path)["rows"])
    columns = {
        "points": rows["points"],
        "seen, %": _percent(rows["seen"] / rows["points"].where(rows["points"] > 0)),
        "recall, own names, %": _percent(rows["recall_own_names"]),
        "recall, text space, %": _percent(rows["recall_text"]),
        "most frequent answer": rows["most_frequent_answer"].fillna(""),
    }
    return pd.DataFrame(columns).set_axis(pd.Index(rows["class"], name="class"))


def _percent(shares: pd.Series) -> pd.Series:
    return shares.map(lambda share: "" if pd.isna(share) else f"{100 * share:.0f}")
