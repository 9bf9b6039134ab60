"""What float16 does to a history: against a closed form and a slow loop."""

import numpy as np
import pytest

from geoguide.report.storage import CLASSES, SIZE, SUPERPOINTS, drawn_products, storage_table

OTHER = "float16 other than float32 (%)"


def changed(storage: str) -> str:
    return f"labels changed, {storage} (%)"


def labels_of(products: np.ndarray) -> np.ndarray:
    """The class of largest mean of each superpoint, int64 [S]; superpoints lie one after the other."""
    return products.astype(np.float64).reshape(SUPERPOINTS, SIZE, CLASSES).mean(1).argmax(1)


def test_float32_goes_as_far_as_the_rate_says() -> None:
    """Without noise the history is a weighted mean of two opinions."""
    first, said, _ = drawn_products(0.0, 0)
    for line in storage_table((10, 200), 0.995, noise=0.0).to_dict("records"):
        kept = 0.995 ** line["visits"]
        mean = kept * first.double().numpy() + (1 - kept) * said[0].double().numpy()
        moved = (labels_of(mean) != labels_of(first.numpy())).mean()
        assert line[changed("float32")] == pytest.approx(100 * moved, abs=0.6)  # one superpoint of near ties
        assert line["of the way (%)"] == pytest.approx(100 * (1 - kept))


def test_shares_are_those_of_a_slow_loop() -> None:
    first, said, superpoints = drawn_products(0.02, 3)
    assert (superpoints == np.repeat(np.arange(SUPERPOINTS), SIZE)).all()
    held = {kind: first.numpy().astype(kind) for kind in ("float32", "float16")}
    for visit in range(12):
        new = said[visit % len(said)].numpy()
        held = {
            k: (np.float32(0.9) * old.astype(np.float32) + np.float32(0.1) * new).astype(k) for k, old in held.items()
        }
    (line,) = storage_table((12,), 0.9, seed=3).to_dict("records")
    labels = {kind: labels_of(old) for kind, old in held.items()}
    for kind, own in labels.items():
        moved = (own != labels_of(first.numpy().astype(kind))).mean()
        assert line[changed(kind)] == pytest.approx(100 * moved, abs=0.6) and moved > 0.2
    assert line[OTHER] == pytest.approx(100 * (labels["float16"] != labels["float32"]).mean(), abs=0.6)


def test_at_sas_rate_float16_keeps_labels_that_float32_would_move() -> None:
    table = storage_table((30, 1000))
    assert (table[changed("float16")] < 1).all() and table[changed("float32")].is_monotonic_increasing
    assert table[OTHER].iloc[-1] > 5
