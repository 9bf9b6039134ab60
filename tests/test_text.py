"""Text embeddings: against the model run sentence by sentence, and the disk cache's promises."""

import os
import socket
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from geoguide import paths
from geoguide.errors import DataError, InputError
from geoguide.text import encoder as encoder_module
from geoguide.text import minilm as text
from geoguide.text.encoder import same_pair, spelling
from geoguide.text.minilm import MiniLMTextEncoder

NAMES = ["chair", "kitchen counter", "something red {1} to sit on", "été 漢字"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MiniLMTextEncoder:
    return MiniLMTextEncoder(tmp_path_factory.mktemp("text"))


def one_by_one(sentence: str) -> np.ndarray:
    """The model on one sentence, without padding or batches, through the library's own tokenizer class."""
    import torch
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(text.model_folder(), local_files_only=True)
    tokens = tokenizer(sentence, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        mean = text._model()(**tokens).last_hidden_state[0].mean(dim=0).numpy()
    return mean / np.linalg.norm(mean)


def test_equals_the_model_run_sentence_by_sentence(encoder: MiniLMTextEncoder) -> None:
    vectors = encoder.encode([*NAMES, "very long " * 300])
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    for name, vector in zip([*NAMES, "very long " * 300], vectors, strict=True):
        np.testing.assert_allclose(vector, one_by_one(f"a photo of a {name}"), atol=2e-6)


def test_unit_length_order_and_repeats(encoder: MiniLMTextEncoder) -> None:
    vectors = encoder.encode(["chair", "table", "chair"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(encoder.encode(["table", "chair"]), vectors[[1, 0]])


def test_meaning_orders_the_cosines(encoder: MiniLMTextEncoder) -> None:
    sofa, couch, toilet = encoder.encode(["sofa", "couch", "toilet"])
    assert sofa @ couch > sofa @ toilet


def test_prompt_ensemble_is_the_renormalised_mean(encoder: MiniLMTextEncoder) -> None:
    prompts = ["a photo of a {}", "{} in a scene"]
    parts = [encoder.encode(NAMES, prompt) for prompt in prompts]
    mean = (parts[0] + parts[1]) / 2
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(NAMES, prompts), expected, atol=1e-6)


def test_cached_words_need_no_model(encoder: MiniLMTextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = encoder.encode(NAMES)
    monkeypatch.setattr(
        MiniLMTextEncoder, "_embed", lambda self, sentences: pytest.fail(f"model asked for {sentences}")
    )
    np.testing.assert_array_equal(MiniLMTextEncoder(encoder.cache).encode(NAMES), vectors)


def test_loading_the_model_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    text._model.__wrapped__()
    assert not asked and "HF_HUB_OFFLINE" not in os.environ  # other weights may still be fetched in this process


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_cache_entry_is_made_again(encoder: MiniLMTextEncoder, damage: bytes | None) -> None:
    vectors = encoder.encode(["lamp"])
    entry = encoder.cache / encoder._entry("a photo of a lamp")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    np.testing.assert_array_equal(MiniLMTextEncoder(encoder.cache).encode(["lamp"]), vectors)
    assert entry.read_bytes()[:2] == b"PK" and len(entry.read_bytes()) == len(whole)


def test_the_cache_is_listed_once_however_many_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To list a folder of n entries takes n steps: once for each new sentence would be quadratic."""
    listed, sweep = [], paths.sweep
    for module in (paths, encoder_module):
        monkeypatch.setattr(module, "sweep", lambda folder: listed.append(folder) or sweep(folder))
    left = tmp_path / f"{paths.MAKING}of-a-killed-process-"
    left.mkdir()
    again = MiniLMTextEncoder(tmp_path)
    again.encode([f"thing {number}" for number in range(5)])
    assert len(list(tmp_path.glob("*.npz"))) == 5 and listed == [tmp_path] and not left.exists()


def test_thousands_of_new_words_show_progress_and_few_or_fast_ones_do_not(monkeypatch, capsys) -> None:
    monkeypatch.setattr(MiniLMTextEncoder, "_embed", lambda self, sentences: np.ones((len(sentences), self.width)))
    words = [f"thing {number}" for number in range(encoder_module.BATCH + 1)]
    MiniLMTextEncoder(cache=None).encode(words)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(encoder_module, "LONG", 0.0)  # whatever is done takes longer
    MiniLMTextEncoder(cache=None).encode(words[1:])
    assert capsys.readouterr().err == ""
    again = MiniLMTextEncoder(cache=None)
    again.encode(words)
    assert f"{len(words)}/{len(words)}" in capsys.readouterr().err
    again.encode(words)  # from memory
    assert capsys.readouterr().err == ""


def test_an_entry_of_another_sentence_is_not_used(encoder: MiniLMTextEncoder) -> None:
    vectors = encoder.encode(["lamp", "sink"])
    lamp, sink = (encoder.cache / encoder._entry(f"a photo of a {name}") for name in ("lamp", "sink"))
    lamp.write_bytes(sink.read_bytes())
    np.testing.assert_array_equal(MiniLMTextEncoder(encoder.cache).encode(["lamp"]), vectors[:1])


def test_a_cache_that_cannot_be_written_warns_and_goes_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.warns(UserWarning, match="text cache is off"):
        assert MiniLMTextEncoder(blocked / "cache").encode(["chair"]).shape == (1, 384)
    with warnings.catch_warnings():  # said once, though each part of a command has an encoder of its own
        warnings.simplefilter("error")
        MiniLMTextEncoder(blocked / "cache").encode(["table"])


def test_default_cache_follows_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    assert MiniLMTextEncoder().cache == tmp_path / "cache" / "text"
    assert MiniLMTextEncoder(None).cache is None


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    with pytest.raises(DataError, match="weights not found"):
        text.check_weights(weights)
    weights.write_bytes(b"other")
    with pytest.raises(DataError, match=r"model\.safetensors: SHA-256 must be 53aa.*found d9298a10d1b07358"):
        text.check_weights(weights)


@pytest.mark.parametrize("names", [[], [""], ["chair", "  "], "chair", [3], None])
def test_bad_names(names: object) -> None:
    with pytest.raises(InputError, match="names"):
        MiniLMTextEncoder(None).encode(names)


@pytest.mark.parametrize("prompt", ["a photo", "", [], ["a {}", "b"], [3]])
def test_bad_prompts(prompt: object) -> None:
    with pytest.raises(InputError, match="prompt"):
        MiniLMTextEncoder(None).encode(["chair"], prompt)


# What MiniLM cannot tell apart: case, spaces, accents, letters that it does not know, what is cut off or invisible.
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("chair", "Chair "),
        ("office chair", "office\t chair"),
        ("Tür", "Tur"),
        ("Tür", "Tu\u0308r"),
        ("椅子", "桌子"),
        ("ch\u200bair", "chair"),
        ("chair " * 300 + "x", "chair " * 300 + "y"),
    ],
)
def test_the_same_to_the_encoder(encoder: MiniLMTextEncoder, first: str, second: str) -> None:
    assert same_pair(encoder.encode(["lamp", first, "sink", second])) == (1, 3)


def test_the_first_same_pair_of_many_names_needs_little_memory() -> None:
    """Thousands of names that are all the same to an encoder have millions of pairs: none of these is kept."""
    far = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    assert same_pair(far) is None
    far[[40, 2000, 7, 2999]] = far[[2000, 2000, 2999, 2999]]
    assert same_pair(far) == (7, 2999)
    tracemalloc.start()
    assert same_pair(np.repeat(far[:1], 3000, axis=0)) == (0, 1)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_other_words_are_not_the_same(encoder: MiniLMTextEncoder) -> None:
    words = ["chair", "chairs", "a chair", "chair.", "armchair", "couch", "sofa", "!!!", "???", "grey", "gray"]
    assert same_pair(encoder.encode(words)) is None and same_pair(encoder.encode(["chair"])) is None
    assert len({spelling(word) for word in words}) == len(words)


def test_letters_that_the_model_does_not_know(encoder: MiniLMTextEncoder) -> None:
    assert encoder.unknown(["chair", "Tür", "椅子", "🪑", "!!!"]) == ["椅子", "🪑"]
