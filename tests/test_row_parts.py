"""Rows in parts: every row once, by threads in which torch computes alone and no graph is made."""

import numpy as np
import pytest
import torch

from geoguide.ops.row_parts import each_of, in_parts


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_every_row_once_and_none_alone(threads, count, size):
    parts = []
    in_parts(parts.append, torch.empty(count, 2), size)
    parts.sort(key=lambda part: part.start)
    assert np.array_equal(np.concatenate([np.arange(count)[part] for part in parts]), np.arange(count))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert count < 2 or min(lengths) >= 2  # a product of one row rounds otherwise


@pytest.mark.parametrize("inference", [False, True])
def test_threads_compute_alone_and_without_a_graph(threads, inference):
    found = []
    with torch.inference_mode(inference):
        each_of(lambda _: found.append((torch.get_num_threads(), torch.is_grad_enabled(),
                                        torch.is_inference_mode_enabled())), list(range(9)))  # fmt: skip
    assert set(found) == {(1, False, inference)}
    assert torch.get_num_threads() == threads


def test_what_a_thread_raises_is_raised(threads):
    def work(item):
        if item == 2:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        each_of(work, [0, 1, 2, 3])
