"""The paper's claims in words, what would refute them, its own numbers, and the open choice each verdict hangs on."""

from collections.abc import Callable
from dataclasses import dataclass

from geoguide.report.tables import METRICS, UNKNOWN, paper

NOT_TESTABLE = "not testable here"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: C1 to C12.
        sentence: What it says.
        refuted: What would refute it.
        hangs_on: The choice of ours, among those that the paper leaves open, that the verdict hangs on most.
        chapter: That shows it.
        untested: What of it cannot be tested here, and why; '' where nothing is left.
        otherwise: What is said of it where no two rows can test it.
    """

    name: str
    sentence: str
    refuted: str
    hangs_on: str
    chapter: str
    untested: str = ""
    otherwise: str = NOT_TESTABLE


CLAIMS = (
    Claim(
        "C1",
        "Freezing the pretrained backbone and training an adapter alone beats training the entire 3D network with "
        "OpenSeg features, but not with LSeg features.",
        "The entire network scores as high with an OpenSeg-like 2D model, or the adapter wins with an LSeg-like one.",
        "whether the entire network starts from pretraining too, how wide it is and how few rooms it sees; what makes "
        "a 2D model like LSeg",
        "01_preliminary",
    ),
    Claim(
        "C2",
        "GeoGuide beats OpenScene and SAS on ScanNet v2, nuScenes and Matterport3D, without self-distillation.",
        "On one of the benchmarks it scores lower than the other method.",
        "how wide the entire network is and how few scenes it sees",
        "04_main_table",
        "SAS in houses and on streets: its recipe was run in rooms alone",
    ),
    Claim(
        "C3",
        "Removing any one of USD, IMR and IIRC lowers both mIoU and mAcc.",
        "A preset without one of them scores as high as with all.",
        "as-written or works-best: what trains W (usd.supervision), the scale of IIRC's matrices (iirc.scale), how the "
        "losses are weighed (lambda_by)",
        "03_ablation",
    ),
    Claim(
        "C4",
        "The three modules complement one another: they answer local, regional and global errors.",
        "One module alone scores as high as all three, or no higher than the adapter under a fault of its own kind.",
        "how the losses are weighed (lambda_by); which fault of a 2D model counts as local, regional or global",
        "07_protocol",
    ),
    Claim(
        "C5",
        "The gain holds with LSeg, OpenSeg and SAS features alike.",
        "Under one of the 2D models the full method scores no higher.",
        "the 2D models: simulated ones on the small edition, small trained ones on the large",
        "04_main_table",
        "SAS features on the small edition, whose 2D models are simulated",
    ),
    Claim(
        "C6",
        "mIoU and mAcc rise together.",
        "A row with more mIoU has less mAcc.",
        "that absent classes count as zero in both means (protocol.absent_class)",
        "03_ablation",
    ),
    Claim(
        "C7",
        "In the long tail GeoGuide leads OpenScene and DMA and degrades least as classes are added, thanks to IIRC.",
        "It falls behind on a larger label set, or keeps no more of its score than the others, or IIRC adds nothing.",
        "how few houses there are: most rare classes have IoU near zero in every row",
        "05_long_tail",
        "DMA: its recipe was run in rooms alone",
    ),
    Claim(
        "C8",
        "Inference costs the same as a plain backbone with adapter: the modules are for training alone.",
        "A model trained with the modules has more to load, or takes longer.",
        "one pass over the points alone, no ensemble with 2D features (protocol.mode)",
        "08_claims",
        "no two rows differ in it: the saved model is the adapter alone, whatever trained it; time, memory, bytes and "
        "the exported graph are compared in chapter 08",
        "holds by construction",
    ),
    Claim(
        "C9",
        "The gain over OpenScene with OpenSeg features on ScanNet v2 is as large as the paper says.",
        "The gain is smaller.",
        "how wide the entire network is and how few rooms it sees: its low score makes any gain large",
        "04_main_table",
        "the size on ScanNet v2 itself: what is tested is whether the gain is as large on generated rooms, over a "
        "network as narrow as ours",
    ),
    Claim(
        "C10",
        "Transfer from ScanNet to Matterport3D works; from indoors to outdoors it stays hard.",
        "A network from rooms is no better in houses than the most frequent class, or as good on streets as one from "
        "there.",
        "that rooms and houses come from related generators; a backbone pretrained on rooms alone",
        "06_cross_domain",
    ),
    Claim(
        "C11",
        "IMR and IIRC depend on the quality of the instance masks, USD on that of the superpoints.",
        "Better masks or superpoints change nothing.",
        "masks.source and superpoints.k: masks from geometry in place of Mask3D",
        "07_protocol",
    ),
    Claim(
        "C12",
        "A more strongly pretrained 3D backbone should help further.",
        "Features that know more give the adapter nothing.",
        "backbone.name: mini backbones in place of Sonata, on the large edition joined with descriptors",
        "01_preliminary",
        "stronger backbones than Sonata (the paper's outlook): not here",
    ),
)


def gain(table: str, row: str, other: str, column: str) -> float:
    """A difference of two rows of a table of the paper.

    Args:
        table: Name of the table in results/paper.json.
        row: Name of a row.
        other: Name of the row that is subtracted.
        column: Name of the column.

    Returns:
        The difference; NaN where one of them is not stated.
    """
    rows = paper(table)
    first, second = rows[row][column], rows[other][column]
    return float("nan") if first is None or second is None else first - second


def _both(row: str, other: str) -> str:
    """The paper's differences in both metrics, with OpenSeg features on ScanNet."""
    return ", ".join(f"{gain('scannet_openseg', row, other, key):+.1f} {shown}" for shown, key in METRICS.items())


def _against_best(table: str, row: str) -> str:
    """By column, what a row has more than the best of the others."""
    rows = paper(table)
    best = {column: max(other[column] or 0 for name, other in rows.items() if name != row) for column in rows[row]}
    return ", ".join(f"{column} {(rows[row][column] or 0) - value:+.1f}" for column, value in best.items())


def _long_tail() -> str:
    """The paper's lead in the long tail, and what every method keeps."""
    kept = {name: 100 * (row["160"] or 0) / (row["21"] or 1) for name, row in paper("long_tail_miou").items()}
    shares = ", ".join(f"{name} keeps {value:.0f} %" for name, value in kept.items())
    return f"less the best other method, by K: {_against_best('long_tail_miou', 'GeoGuide (OS)')} mIoU; {shares}"


def paper_concordance() -> tuple[int, int]:
    """How often mIoU and mAcc rise together between two rows of the paper's own table (C6).

    Returns:
        In how many pairs of rows they do, and of how many.
    """
    rows = [(row["miou"], row["macc"]) for row in paper("scannet_openseg").values()]
    stated = [(miou, macc) for miou, macc in rows if miou is not None and macc is not None]
    pairs = [(one, other) for place, one in enumerate(stated) for other in stated[:place]]
    return sum((one[0] - other[0]) * (one[1] - other[1]) > 0 for one, other in pairs), len(pairs)


def _together() -> str:
    agree, pairs = paper_concordance()
    return (
        f"full less adapter alone {_both('full', 'adapter only')}; in {agree} of the {pairs} pairs of rows that it "
        "states both rise, so that its own numbers contradict the sentence as it stands"
    )


_PAPER: dict[str, Callable[[], str]] = {
    "C1": lambda: (
        f"with OpenSeg {_both('adapter only', 'entire network')}; with LSeg a slight drop (size not available to us)"
    ),
    "C2": lambda: f"less the best other method: {_against_best('main_miou', 'GeoGuide (SAS*)')} mIoU",
    "C3": lambda: f"full less adapter alone {_both('full', 'adapter only')}; single modules: not available to us",
    "C6": _together,
    "C7": _long_tail,
    "C9": lambda: f"{_both('full', 'entire network')}",
}


def paper_says(claim: str) -> str:
    """The paper's own numbers on a claim, from results/paper.json.

    Args:
        claim: C1 to C12.

    Returns:
        In words; `tables.UNKNOWN` where the digest of the paper has none.
    """
    return _PAPER.get(claim, lambda: UNKNOWN)()
