"""What may happen to a file: mutations that may change what it means. What reads it must then refuse it, or be right.

A folder is a dictionary of its files: relative path -> bytes. A mutation of one file takes its bytes and returns others
and, where a field was taken away or renamed, that field's name, which a refusal must then hold.
"""

import io
import json
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from geoguide.datasets.formats.torch_files import read_torch

Files = dict[str, bytes]
Damaged = tuple[bytes, str]  # the new bytes, and a field's name or ""
TEXT = (".json", ".txt", ".tsv", ".csv", ".conf")
WORDS = (
    "",
    "nan",
    "-inf",
    "1e999",
    "-1",
    "0",
    "99999999999999999999",
    "9" * 5000,
    "1.5",
    "x",
    "Tür",
    "\0",
    "\n",
    "true",
)
VALUES = (
    None,
    True,
    -1,
    0,
    7.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "Tür",
    [],
    {},
    [[1, 2], [3]],
    ["x"],
    [None],
)
COUNTS = (0, 1, 255, 2**31 - 1, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1)
DTYPES = ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "u2", "u8", "?", "c8", "U4", "S4", "M8[s]", ">f4", ">i4")


class Dice:
    """What hypothesis draws."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def pick(self, options: Any) -> Any:
        return self.data.draw(st.sampled_from(list(options)))

    def below(self, count: int) -> int:
        return self.data.draw(st.integers(0, max(0, count - 1)))

    def noise(self, longest: int) -> bytes:
        return self.data.draw(st.binary(max_size=longest))


class NotHere(Exception):
    """The mutation does not apply to this file."""


def flip(content: bytes, dice: Dice) -> Damaged:
    place = dice.below(len(content))
    return content[:place] + bytes([content[place] ^ 1 << dice.below(8)]) + content[place + 1 :], ""


def overwrite(content: bytes, dice: Dice) -> Damaged:
    place, noise = dice.below(len(content)), dice.noise(8)
    return content[:place] + noise + content[place + len(noise) :], ""


def truncate(content: bytes, dice: Dice) -> Damaged:
    return content[: dice.below(len(content))], ""


def cut_out(content: bytes, dice: Dice) -> Damaged:
    start = dice.below(len(content))
    return content[:start] + content[start + 1 + dice.below(64) :], ""


def insert(content: bytes, dice: Dice) -> Damaged:
    place = dice.below(len(content) + 1)
    return content[:place] + dice.noise(16) + content[place:], ""


def zero_run(content: bytes, dice: Dice) -> Damaged:
    start, count = dice.below(len(content)), 1 + dice.below(256)
    return content[:start] + bytes(len(content[start : start + count])) + content[start + count :], ""


def twice(content: bytes, dice: Dice) -> Damaged:
    return content + content, ""


def halves_swapped(content: bytes, dice: Dice) -> Damaged:
    middle = dice.below(len(content))
    return content[middle:] + content[:middle], ""


def empty(content: bytes, dice: Dice) -> Damaged:
    return b"", ""


def huge_count(content: bytes, dice: Dice) -> Damaged:
    """Four or eight bytes near the beginning become a count that nothing can hold."""
    packed = struct.pack(dice.pick("<>") + "Q", dice.pick(COUNTS))
    packed = packed if dice.below(2) else packed[:4]
    place = dice.below(min(len(content), 512))
    return content[:place] + packed + content[place + len(packed) :], ""


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise NotHere from None


def word(content: bytes, dice: Dice) -> Damaged:
    words = list(re.finditer(r"[^\s,:\[\]{}\"]+", _text(content)))
    if not words:
        raise NotHere
    match, text = words[dice.below(len(words))], _text(content)
    return (text[: match.start()] + dice.pick(WORDS) + text[match.end() :]).encode(), ""


def lines(content: bytes, dice: Dice) -> Damaged:
    rows = _text(content).splitlines(keepends=True)
    if not rows:
        raise NotHere
    place, other = dice.below(len(rows)), dice.below(len(rows))
    change = dice.pick(("drop", "double", "swap", "join", "blank"))
    if change == "swap":
        rows[place], rows[other] = rows[other], rows[place]
    else:
        row = rows[place]
        rows[place] = {"drop": "", "double": row * 2, "join": row.rstrip("\r\n"), "blank": "\n" + row}[change]
    return "".join(rows).encode(), ""


def encoding(content: bytes, dice: Dice) -> Damaged:
    return _text(content).encode(dice.pick(("utf-16", "utf-16-be", "utf-32", "cp1252", "utf-8-sig")), "replace"), ""


def columns(content: bytes, dice: Dice) -> Damaged:
    """A column of a table is dropped, doubled or renamed."""
    rows = [row.split("\t") for row in _text(content).splitlines()]
    place = dice.below(min(map(len, rows), default=0))
    if not rows or place >= min(map(len, rows)):
        raise NotHere
    name = rows[0][place]
    change = dice.pick(("drop", "double", "rename"))
    if change == "rename":
        rows[0][place] += "s"
    else:
        rows = [row[:place] + row[place : place + 1] * 2 * (change == "double") + row[place + 1 :] for row in rows]
    return "\n".join(map("\t".join, rows)).encode(), name if change != "double" else ""


def _nodes(value: Any) -> list[Any]:
    """Every dictionary and list in a tree that holds anything."""
    if not isinstance(value, (dict, list)) or not value:
        return []
    return [value, *(node for part in (value.values() if isinstance(value, dict) else value) for node in _nodes(part))]


def tree(value: Any, dice: Dice, odd: Callable[[Any, Dice], Any]) -> str:
    """Change one place of a tree of dictionaries and lists; the name of the field that is gone, or ""."""
    nodes = _nodes(value)
    if not nodes:
        raise NotHere
    node = dice.pick(nodes)
    key = dice.pick(node) if isinstance(node, dict) else dice.below(len(node))
    change = dice.pick(("drop", "rename", "other", "swap", "other"))
    if change == "drop":
        del node[key]
    elif change == "rename" and isinstance(node, dict):
        node[f"{key}_"] = node.pop(key)
    elif change == "swap":
        other = dice.pick(node) if isinstance(node, dict) else dice.below(len(node))
        node[key], node[other] = node[other], node[key]
    else:
        node[key] = odd(node[key], dice)
    return key if change in ("drop", "rename") and isinstance(key, str) else ""


def _odd_json(value: Any, dice: Dice) -> Any:
    return [value] if dice.below(8) == 1 else dice.pick(VALUES)


def json_value(content: bytes, dice: Dice) -> Damaged:
    try:
        value = json.loads(content)
    except ValueError:
        raise NotHere from None
    field = tree(value, dice, _odd_json)
    return json.dumps(value).encode(), field


def json_whole(content: bytes, dice: Dice) -> Damaged:
    """Another value in place of the whole, or one that no parser likes."""
    deep = b"[" * 100_000 + b"]" * 100_000
    return dice.pick((deep, b"9" * 5000, *(json.dumps(value).encode() for value in VALUES))), ""


def json_key_twice(content: bytes, dice: Dice) -> Damaged:
    keys = list(re.finditer(rb'"(\w+)": ', content))
    if not keys:
        raise NotHere
    place = keys[dice.below(len(keys))]
    value = json.dumps(dice.pick(VALUES)).encode()
    return content[: place.start()] + place[0] + value + b", " + content[place.start() :], ""


def odd_array(value: np.ndarray, dice: Dice) -> np.ndarray:
    """An array of another dtype, shape or value."""
    change = dice.pick(("dtype", "shape", "value", "all", "order"))
    if change == "dtype":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return value.astype(dice.pick(DTYPES))
        except (TypeError, ValueError):
            raise NotHere from None
    if change == "shape":
        shapes = (
            (value[:0], value[:1], value[:-1], value.T, value[None], value[..., None], value.ravel())
            if value.ndim
            else ()
        )
        return dice.pick((*shapes, value.reshape(-1)[:1].reshape(()), np.concatenate([value.ravel()] * 2)))
    if change == "order":
        return value[::-1].copy() if value.ndim else value
    value = value.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = np.array(dice.pick((np.nan, np.inf, -np.inf, 1e30, -1.0, 0.0, 65504.0, 1e300))).astype(value.dtype)
    value.reshape(-1)[slice(None) if change == "all" else dice.below(value.size)] = odd
    return value


def _odd_tensor(value: torch.Tensor, dice: Dice) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "number": lambda: 3,
        "text": lambda: "x",
        "list": value.tolist,
        "half": value.bfloat16,
        "grad": lambda: value.float().requires_grad_(),
        "sparse": lambda: value.to_sparse(),
        "complex": lambda: torch.complex(value.float(), value.float()).conj(),
        "expanded": lambda: value.reshape(-1)[:1].expand(10**12, 3),
        "meta": lambda: value.to("meta"),
        "float8": lambda: value.float().to(torch.float8_e5m2),
        "quantized": lambda: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.quint8),
    }
    if dice.below(2):
        return torch.from_numpy(_native(odd_array(value.detach().numpy(), dice)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about kinds of tensors that are seldom made
        return makers[dice.pick(makers)]()


def _native(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8 or value.dtype == np.uint64:
        raise NotHere
    return np.ascontiguousarray(value.astype(value.dtype.newbyteorder("=")))


def _odd_part(value: Any, dice: Dice) -> Any:
    if isinstance(value, np.ndarray) and dice.below(2):
        return odd_array(value, dice)
    if isinstance(value, np.ndarray):
        return _odd_tensor(torch.from_numpy(value), dice)
    return _odd_tensor(value, dice) if isinstance(value, torch.Tensor) else _odd_json(value, dice)


def load_content(content: bytes) -> Any:
    """What a torch file holds, by the package's own reader: no pickled code is run here either."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "content.pt"
        path.write_bytes(content)
        return read_torch(path)


def torch_value(content: bytes, dice: Dice) -> Damaged:
    value = load_content(content)
    box = [list(value) if isinstance(value, tuple) else value]
    field = tree(box, dice, _odd_part)
    whole = box[0] if box else None
    whole = tuple(whole) if isinstance(value, tuple) and isinstance(whole, list) and dice.below(4) else whole
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about tensors of kinds that are seldom saved
        torch.save(whole, buffer)
    return buffer.getvalue(), field


def npz_value(content: bytes, dice: Dice) -> Damaged:
    with np.load(io.BytesIO(content)) as archive:
        value: dict[str, Any] = dict(archive)
    field = tree(value, dice, lambda part, dice: odd_array(part, dice))
    if dice.below(8) == 1 and value:  # an array of objects needs pickle, which no reader may run
        field, value[dice.pick(value)] = "", np.array([None, {}], dtype=object)
    buffer = io.BytesIO()
    np.savez(buffer, **value)
    return buffer.getvalue(), field


def npy_value(content: bytes, dice: Dice) -> Damaged:
    buffer = io.BytesIO()
    np.save(buffer, odd_array(np.load(io.BytesIO(content)), dice))
    return buffer.getvalue(), ""


def npy_header(content: bytes, dice: Dice) -> Damaged:
    """A header of the same array whose shape, order or type is another."""
    shape = f"({dice.pick(COUNTS)}, {dice.pick((3, 4))})"
    change = dice.pick(((rb"'shape': \([^)]*\)", f"'shape': {shape}"), (rb"'descr': '[^']*'", "'descr': '<f8'"),
                        (rb"'fortran_order': \w+", "'fortran_order': True"), (rb"'descr'", "'desc'")))  # fmt: skip
    if not content.startswith(b"\x93NUMPY"):
        raise NotHere
    end = 10 + struct.unpack("<H", content[8:10])[0]
    header = re.sub(change[0], change[1].encode(), content[10:end])
    return content[:8] + struct.pack("<H", len(header)) + header + content[end:], ""


def npz_header(content: bytes, dice: Dice) -> Damaged:
    """As `npy_header`, of one array of the archive, whose checksum is right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = dice.pick(members)
    members[name] = npy_header(members[name], dice)[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue(), ""


def _tensors_and_notes(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Both by name, in the names' order: safetensors' own is another in each process."""
    size = struct.unpack("<Q", content[:8])[0]
    notes = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    return dict(sorted(load_tensors(content).items())), dict(sorted(notes.items()))


def safetensors_value(content: bytes, dice: Dice) -> Damaged:
    tensors, notes = _tensors_and_notes(content)
    field = tree(tensors, dice, lambda part, dice: torch.from_numpy(_native(odd_array(part.numpy(), dice))))
    apart = {name: tensor.clone() for name, tensor in tensors.items()}  # two names of one tensor cannot be saved
    return save_tensors(apart, metadata=notes), field


def safetensors_notes(content: bytes, dice: Dice) -> Damaged:
    tensors, notes = _tensors_and_notes(content)
    if not notes:
        raise NotHere
    name = dice.pick(notes)
    content = json_value(notes[name].encode(), dice)[0] if dice.below(4) else b"x"
    return save_tensors(tensors, metadata=notes | {name: content.decode()}), ""  # fields may be absent there


def safetensors_header(content: bytes, dice: Dice) -> Damaged:
    size = struct.unpack("<Q", content[:8])[0]
    header = json_value(content[8 : 8 + size], dice)[0]
    return struct.pack("<Q", len(header)) + header + content[8 + size :], ""


def ply_header(content: bytes, dice: Dice) -> Damaged:
    """A line or word of the header is dropped, doubled, swapped or another; the rows stay."""
    head, end, body = content.partition(b"end_header\n")
    change = dice.pick((lines, word, word))
    return change(head, dice)[0] + end + body, ""


def ply_property(content: bytes, dice: Dice) -> Damaged:
    """A property has another name."""
    properties = list(re.finditer(rb"property (?:list \w+ )?\w+ (\w+)\n", content))
    match = properties[dice.below(len(properties))]
    return content[: match.end(1)] + b"_" + content[match.end(1) :], match[1].decode()


def ply_count(content: bytes, dice: Dice) -> Damaged:
    elements = list(re.finditer(rb"element \w+ (\d+)", content))
    match = elements[dice.below(len(elements))]
    return content[: match.start(1)] + str(dice.pick((*COUNTS, -1))).encode() + content[match.end(1) :], ""


def png_size(content: bytes, dice: Dice) -> Damaged:
    """A png header, with its checksum right, that says another width and height."""
    if content[1:4] != b"PNG":
        raise NotHere
    header = (
        b"IHDR" + struct.pack(">II", *(1 + dice.below(2 ** dice.pick((4, 16, 31))) for _ in range(2))) + content[24:29]
    )
    return content[:12] + header + struct.pack(">I", zipfile.crc32(header)) + content[33:], ""


def image_kind(content: bytes, dice: Dice) -> Damaged:
    """The same picture in another mode, size or format."""
    from PIL import Image

    image = Image.open(io.BytesIO(content))
    change = dice.pick(("L", "LA", "P", "RGBA", "1", "I", "F", "CMYK", "YCbCr", "size", "turned"))
    if change == "size":
        image = image.resize((1 + dice.below(2 * image.width), 1 + dice.below(2 * image.height)))
    elif change == "turned":
        image = image.transpose(Image.Transpose.ROTATE_90)
    elif image.mode.startswith("I") and change not in ("L", "I", "F"):
        raise NotHere
    else:
        image = image.convert(change)
    buffer = io.BytesIO()
    try:
        image.save(buffer, dice.pick(("PNG", "JPEG", "TIFF", "BMP", "GIF")))
    except (OSError, ValueError, KeyError):
        raise NotHere from None
    return buffer.getvalue(), ""


def rows_of_floats(content: bytes, dice: Dice) -> Damaged:
    values = np.frombuffer(content[: len(content) // 4 * 4], "<f4")
    return np.ascontiguousarray(odd_array(values, dice)).tobytes(), ""


def zipped(content: bytes, dice: Dice) -> Damaged:
    """What a browser may do to a file: it comes zipped."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("file", content)
    return buffer.getvalue(), ""


ANY = (flip, overwrite, truncate, cut_out, insert, zero_run, twice, halves_swapped, empty, huge_count, zipped)
OF_KIND = {
    ".json": (word, lines, encoding, json_value, json_value, json_value, json_whole, json_key_twice),
    ".txt": (word, word, lines, encoding),
    ".conf": (word, word, lines, encoding),
    ".csv": (word, word, lines, encoding),
    ".tsv": (word, word, lines, encoding, columns),
    ".ply": (ply_header, ply_header, ply_property, ply_count),
    ".npz": (npz_value, npz_value, npz_value, npz_header),
    ".npy": (npy_value, npy_value, npy_header),
    ".pth": (torch_value, torch_value, torch_value, torch_value),
    ".pt": (torch_value, torch_value, torch_value, torch_value),
    ".safetensors": (safetensors_value, safetensors_notes, safetensors_notes, safetensors_header),
    ".png": (png_size, image_kind),
    ".jpg": (image_kind,),
    ".bin": (rows_of_floats,),
}


def suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def damaged(files: Files, dice: Dice, by_hand: bool = True) -> tuple[Files, str, str]:
    """One mutation of one file, or of which files there are: the folder, what was done, the field that is gone.

    One in four has a second mutation, of bytes alone; which field is gone then does not count. Unless `by_hand`, no
    field of a json file is changed: nobody edits a cache.
    """
    mutated, done, field = _damaged(files, dice, by_hand)
    if dice.below(4) != 1 or not mutated:
        return mutated, done, field
    name = dice.pick(sorted(mutated))
    change = dice.pick(ANY) if mutated[name] else insert
    return mutated | {name: change(mutated[name], dice)[0]}, f"{done}, {change.__name__} {name}", ""


def _damaged(files: Files, dice: Dice, by_hand: bool) -> tuple[Files, str, str]:
    name = dice.pick(sorted(files))
    if dice.below(12) == 1:
        change = dice.pick((_gone, _renamed, _exchanged, _of_another))
        return change(files, name, dice), f"{change.__name__} {name}", ""
    kinds = [
        change for change in OF_KIND.get(suffix(name), ()) if by_hand or change not in (json_value, json_key_twice)
    ]
    change = dice.pick((*kinds, *kinds, *ANY) if kinds else ANY)
    content, field = change(files[name], dice)
    return files | {name: content}, f"{change.__name__} {name}", field


def _gone(files: Files, name: str, dice: Dice) -> Files:
    return {other: content for other, content in files.items() if other != name}


def _renamed(files: Files, name: str, dice: Dice) -> Files:
    return _gone(files, name, dice) | {f"{name}.bak": files[name]}


def _exchanged(files: Files, name: str, dice: Dice) -> Files:
    """Two files of one kind exchange their places."""
    other = dice.pick(sorted(other for other in files if suffix(other) == suffix(name)))
    return files | {name: files[other], other: files[name]}


def _of_another(files: Files, name: str, dice: Dice) -> Files:
    return files | {name: files[dice.pick(sorted(files))]}
