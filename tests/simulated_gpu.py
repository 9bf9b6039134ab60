"""A GPU that is not there: tensors that say they lie on cuda:0, are computed on the CPU, and mix with no others.

What a GPU would refuse is an error here too: an operation on tensors of two devices, a CPU's generator, `.numpy()`.
Numbers are those of the CPU. It says nothing of autocast, of kernels of its own, or of what is missing on CUDA.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU, aten = torch.device("cuda", 0), torch.device("cpu"), torch.ops.aten
_MOVES = {aten._to_copy.default, aten.copy_.default, aten._has_compatible_shallow_copy_type.default}
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_make = torch.tensor


class OnGpu(torch.Tensor):
    """A tensor of the GPU; `held` is what it is computed with. For torch itself it lies on the device "meta"."""

    held: torch.Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnGpu":
        about = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.size(), **about, device="meta")
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(op, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy


def _run(op: Any, args: tuple, kwargs: dict) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    target = next((leaf.type for leaf in leaves if isinstance(leaf, torch.device)), None)
    on_gpu = target in ("cuda", "meta") if target else bool(there)
    if op is aten.copy_.default:
        on_gpu = isinstance(args[0], OnGpu)
    if op in _INDEXING:  # an index may lie on the CPU, but not beside it on the GPU
        mixed = not isinstance(args[0], OnGpu) and any(isinstance(leaf, OnGpu) for leaf in tree_leaves(args[1]))
        mixed |= len(args) > 2 and args[2].dim() > 0 and isinstance(args[2], OnGpu) != isinstance(args[0], OnGpu)
    else:
        mixed = bool(there) and any(tensor.dim() and not isinstance(tensor, OnGpu) for tensor in tensors)
    if mixed and op not in _MOVES:
        raise RuntimeError(f"{op}: tensors on two devices, of shapes {[list(tensor.shape) for tensor in tensors]}")
    if on_gpu and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{op}: a generator of the CPU for a tensor of the GPU")
    own = {OnGpu: lambda leaf: leaf.held, torch.device: lambda _: CPU}
    plain = tree_map(lambda leaf: own.get(type(leaf), lambda same: same)(leaf), (args, kwargs))
    known = {id(tensor.held): tensor for tensor in there}  # what is changed in place stays the same tensor
    found = op(*plain[0], **plain[1])
    return tree_map(lambda leaf: _placed(leaf, known), found) if on_gpu else found


def _placed(leaf: Any, known: dict[int, OnGpu]) -> Any:
    if id(leaf) in known:
        return known[id(leaf)]
    return OnGpu(leaf) if isinstance(leaf, torch.Tensor) else leaf


class Simulation(TorchDispatchMode):
    """Every operation of this thread sees the GPU."""

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(op, args, kwargs or {})


@contextmanager
def simulated_gpu() -> Iterator[None]:
    """One GPU is there, of which this thread computes; another one enters `Simulation` itself."""

    def tensor(data: Any, *, device: torch.device | None = None, **options: Any) -> torch.Tensor:
        made = _make(data, **options)
        return made if device is None else made.to(device)

    nothing = torch.zeros(1, dtype=torch.uint8)
    cuda = {"_lazy_init": None, "is_available": True, "device_count": 1, "current_device": 0, "set_device": None}
    cuda |= {"get_rng_state": nothing, "set_rng_state": None, "manual_seed_all": None}
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, lambda *_, value=value: value))
        stack.enter_context(patch.object(torch, "tensor", tensor))
        stack.enter_context(patch.object(torch._C, "_InferenceMode", lambda _: torch.no_grad()))
        stack.enter_context(patch.object(torch.Tensor, "pin_memory", torch.Tensor.clone))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(Simulation())
        yield
