"""Released fused features: their text spaces by the folder's name, or by their width."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoguide.errors import ConfigError
from geoguide.paths import PACKAGE
from geoguide.pipeline.protocols import PROTOCOLS
from geoguide.teachers.released import RELEASED, released_features, space_of_features
from geoguide.text.clip import ClipTextEncoder
from geoguide.text.encoders import TextConfig, text_encoder


def test_the_text_spaces_have_the_widths_of_the_features() -> None:
    for name, features in RELEASED.items():
        assert features.name == name and features.width == text_encoder(features.space.encoder).width


def test_every_folder_that_openscene_published_is_known() -> None:
    table = pd.read_csv(PACKAGE / "datasets" / "published.csv", header=None, dtype=str)
    folders = [folder for folder in table[1] if "multiview" in folder]
    found = {folder: released_features(folder) for folder in folders}
    assert len(found) >= 5 and all(features.name in folder for folder, features in found.items())
    for folder in ("my_features", "openseg2", "classesg", "sassy-lsegs", ""):
        assert released_features(folder) is None


@pytest.mark.parametrize(
    ("folder", "width", "encoder"),
    [
        ("scannet_multiview_openseg", 768, "clip-vit-l14-336"),
        ("scannet_multiview_LSeg", 512, "clip-vit-b32"),
        ("SAS-features", 512, "clip-vit-b32"),
        ("mine", 768, "clip-vit-l14-336"),
        ("mine", 512, "clip-vit-b32"),
        ("mine", 384, "minilm"),
    ],
)
def test_spaces(folder: str, width: int, encoder: str) -> None:
    """What the width alone tells is said to be a guess."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        space = space_of_features(folder, width)
    assert space == TextConfig(encoder) and space.assumed == (folder == "mine")
    guess = f"data.features: mine: text space {encoder} was chosen by their {width} channels alone; name another"
    assert [str(found.message)[: len(guess)] for found in caught] == ([guess] if folder == "mine" else [])


def test_real_data_are_scored_with_the_authors_prompt() -> None:
    for features in RELEASED.values():
        for protocol in ("openscene", "openscene-ensemble"):
            assert PROTOCOLS[protocol].prompt == features.prompt


def test_features_of_another_width_are_refused() -> None:
    wrong = "data.features: nuscenes_multiview_openseg has 512 channels; those of openseg have 768 (OpenScene"
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        space_of_features("nuscenes_multiview_openseg", 512)
    with pytest.raises(ConfigError, match="mine has 9 channels; texts are known for 384, 512, 768"):
        space_of_features("mine", 9)


def test_text_goes_through_the_authors_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text cache answers in CLIP's place: unit vectors that follow from the sentence."""

    def vectors(_encoder: ClipTextEncoder, sentences: list[str]) -> np.ndarray:
        return np.eye(512, dtype=np.float32)[[len(sentence) for sentence in sentences]]

    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    monkeypatch.setattr(ClipTextEncoder, "_embed", vectors)
    found = RELEASED["lseg"].text(["sofa", "chair"])
    assert found.argmax(axis=1).tolist() == [len("a sofa in a scene"), len("a chair in a scene")]
    assert RELEASED["lseg"].text(["sofa"], "{}").argmax() == 4
