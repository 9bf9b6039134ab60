"""Other ways to write the same: mutations of a file's content that keep its meaning, so that what is read is equal."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from damage import TEXT, Files, _tensors_and_notes, load_content, suffix
from PIL import Image, PngImagePlugin
from plyfile import PlyData, PlyElement
from safetensors.torch import save as save_tensors

Rewrite = Callable[[bytes], bytes]


def with_bom(content: bytes) -> bytes:
    return content.decode().encode("utf-8-sig")


def utf16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


def cp1252(content: bytes) -> bytes:
    return content.decode().encode("cp1252")


def windows_lines(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def blank_at_end(content: bytes) -> bytes:
    return content + b"\n  \n"


def blank_between(content: bytes) -> bytes:
    return b"  " + content.replace(b" ", b"\t ").replace(b"\n", b" \n  ")


def json_indented(content: bytes) -> bytes:
    return json.dumps(json.loads(content), indent=2).encode() + b"\n"


def json_other_order(content: bytes) -> bytes:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(part) for key, part in reversed(value.items())}
        return [turned(part) for part in value] if isinstance(value, list) else value

    return json.dumps(turned(json.loads(content))).encode()


def json_more_fields(content: bytes) -> bytes:
    value = json.loads(content)
    for record in value if isinstance(value, list) else [value]:
        if isinstance(record, dict):
            record["_note"] = "Tür"
    return json.dumps(value).encode()


def _table(content: bytes, change: Callable[[list[str]], list[str]]) -> bytes:
    return "\n".join("\t".join(change(line.split("\t"))) for line in content.decode().splitlines()).encode() + b"\n"


def table_other_order(content: bytes) -> bytes:
    return _table(content, lambda row: row[::-1])


def table_more_columns(content: bytes) -> bytes:
    return _table(content, lambda row: ["more", *row, "Tür"])


def _ply(content: bytes, change: Callable[[PlyData], PlyData]) -> bytes:
    buffer = io.BytesIO()
    change(PlyData.read(io.BytesIO(content))).write(buffer)
    return buffer.getvalue()


def _of_vertices(content: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The ply whose vertex records are changed."""

    def changed(data: PlyData) -> PlyData:
        rest = [element for element in data.elements if element.name != "vertex"]
        return PlyData([PlyElement.describe(change(data["vertex"].data), "vertex"), *rest])

    return _ply(content, changed)


def _columns(records: np.ndarray) -> dict[str, np.ndarray]:
    return {name: records[name] for name in records.dtype.names}


def _records(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.array(np.rec.fromarrays(list(columns.values()), names=list(columns)))


def ply_ascii(content: bytes) -> bytes:
    return _ply(content, lambda data: PlyData(data.elements, text=True))


def ply_ascii_windows_lines(content: bytes) -> bytes:
    return windows_lines(ply_ascii(content))


def ply_big_endian(content: bytes) -> bytes:
    """By hand: plyfile does not turn the bytes of numbers that stand beside lists."""
    head, end, _ = content.partition(b"end_header\n")
    body = b""
    for element in PlyData.read(io.BytesIO(content)).elements:
        columns = _columns(element.data)
        triangles = {name: np.stack(part) for name, part in columns.items() if part.dtype == object}
        kinds = [("count", "u1")] if triangles else []
        kinds += [
            (name, ">i4", 3) if name in triangles else (name, part.dtype.newbyteorder(">"))
            for name, part in columns.items()
        ]
        rows = np.full(len(element.data), 3, kinds)
        for name, part in (columns | triangles).items():
            rows[name] = part
        body += rows.tobytes()
    return head.replace(b"little", b"big") + end + body


def ply_remarks(content: bytes) -> bytes:
    return _ply(content, lambda data: PlyData(data.elements, comments=["made by hand"], obj_info=["num_cols 7"]))


def ply_remark_in_latin(content: bytes) -> bytes:
    return content.replace(b"element vertex", "comment Tür, Büro\nelement vertex".encode("cp1252"), 1)


def ply_remark_in_utf8(content: bytes) -> bytes:
    return content.replace(b"element vertex", "comment 部屋\nelement vertex".encode(), 1)


def ply_more_columns(content: bytes) -> bytes:
    def more(records: np.ndarray) -> np.ndarray:
        number = np.arange(len(records))
        return _records({"quality": number.astype("f4")} | _columns(records) | {"flags": number.astype("u1")})

    return _of_vertices(content, more)


def ply_other_order(content: bytes) -> bytes:
    return _of_vertices(content, lambda records: _records(dict(reversed(_columns(records).items()))))


def ply_double(content: bytes) -> bytes:
    def wide(records: np.ndarray) -> np.ndarray:
        return _records({name: part.astype("f8") if part.dtype.kind == "f" else part
                         for name, part in _columns(records).items()})  # fmt: skip

    return _of_vertices(content, wide)


def ply_more_elements(content: bytes) -> bytes:
    extra = np.array([(1.0, 2), (3.0, 4)], [("focal", "f4"), ("id", "i4")])

    def more(data: PlyData) -> PlyData:
        around = [PlyElement.describe(extra, name) for name in ("camera", "material")]
        return PlyData([around[0], *data.elements, around[1]])

    return _ply(content, more)


def ply_wide_lists(content: bytes) -> bytes:
    """Faces as lists whose length is an int and whose members are unsigned, under the list's other name."""

    def wide(data: PlyData) -> PlyData:
        faces = data["face"].data
        lists = np.empty(len(faces), object)
        lists[:] = [np.asarray(face, "u4") for face in faces["vertex_indices"]]
        kinds = [(name, object if name == "vertex_indices" else faces.dtype[name]) for name in faces.dtype.names]
        records = np.empty(len(faces), kinds)
        for name in faces.dtype.names:
            records[name] = lists if name == "vertex_indices" else faces[name]
        names = [name.replace("vertex_indices", "vertex_index") for name in faces.dtype.names]
        records.dtype.names = tuple(names)
        face = PlyElement.describe(records, "face", {"vertex_index": "u4"}, {"vertex_index": "i4"})
        return PlyData([data["vertex"], face])

    return _ply(content, wide)


def _npz(content: bytes, change: Callable[[str, np.ndarray], np.ndarray], **more: np.ndarray) -> bytes:
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: change(name, archive[name]) for name in reversed(archive.files)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **more)
    return buffer.getvalue()


def npz_compressed(content: bytes) -> bytes:
    return _npz(content, lambda name, array: array)


def npz_more_arrays(content: bytes) -> bytes:
    return _npz(content, lambda name, array: array, zzz=np.zeros(3))


def npz_big_endian(content: bytes) -> bytes:
    return _npz(content, lambda name, array: array.astype(array.dtype.newbyteorder(">")))


def npz_by_columns(content: bytes) -> bytes:
    return _npz(content, lambda name, array: np.asfortranarray(array))


def npz_wide(content: bytes) -> bytes:
    wide = {"f": "f8", "u": "i8", "i": "i8"}
    return _npz(content, lambda name, array: array.astype(wide.get(array.dtype.kind, array.dtype)))


def npz_stored_again(content: bytes) -> bytes:
    """The archive as a zip tool writes it: with folders' names and a comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as other:
        other.comment = "Tür".encode()
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    return buffer.getvalue()


def _npy(content: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, change(np.load(io.BytesIO(content))))
    return buffer.getvalue()


def npy_big_endian(content: bytes) -> bytes:
    return _npy(content, lambda array: array.astype(array.dtype.newbyteorder(">")))


def npy_by_columns(content: bytes) -> bytes:
    return _npy(content, np.asfortranarray)


def npy_wide(content: bytes) -> bytes:
    return _npy(content, lambda array: array.astype("f8" if array.dtype.kind == "f" else array.dtype))


def _torch(content: bytes, change: Callable[[Any], Any], **options: Any) -> bytes:
    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(map(changed, value))
        return change(value) if isinstance(value, (np.ndarray, torch.Tensor)) else value

    buffer = io.BytesIO()
    torch.save(changed(load_content(content)), buffer, **options)
    return buffer.getvalue()


def torch_legacy(content: bytes) -> bytes:
    return _torch(content, lambda part: part, _use_new_zipfile_serialization=False)


def torch_tensors(content: bytes) -> bytes:
    return _torch(content, torch.as_tensor)


def torch_arrays(content: bytes) -> bytes:
    """Arrays in place of tensors: only where a scene's points are meant, weights are tensors."""
    return _torch(content, np.asarray) if isinstance(load_content(content), tuple) else content


def torch_gradients(content: bytes) -> bytes:
    """As a training saves what it learns: tensors that require a gradient."""

    def parameter(part: Any) -> Any:
        tensor = torch.as_tensor(part).clone()
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    return _torch(content, parameter)


def torch_strided(content: bytes) -> bytes:
    def strided(part: Any) -> Any:
        tensor = torch.as_tensor(part)
        return torch.repeat_interleave(tensor, 2, dim=0)[::2] if tensor.ndim else tensor

    return _torch(content, strided)


def torch_wide(content: bytes) -> bytes:
    """float32 as float64, of arrays: the dtype of tensors is part of what fused features and weights are."""
    return _torch(content, lambda part: part.astype("f8") if isinstance(part, np.ndarray) else part)


def torch_big_endian(content: bytes) -> bytes:
    def turned(part: Any) -> Any:
        return part.astype(part.dtype.newbyteorder(">")) if isinstance(part, np.ndarray) else part

    return _torch(content, turned)


def torch_short_labels(content: bytes) -> bytes:
    """Labels of a scene as int16, which is what many tools save."""
    value = load_content(content)
    if not isinstance(value, tuple):
        return content
    buffer = io.BytesIO()
    torch.save((*value[:2], value[2].astype(np.int16)), buffer)
    return buffer.getvalue()


def safetensors_other_order(content: bytes) -> bytes:
    tensors, notes = _tensors_and_notes(content)
    return save_tensors(dict(reversed(tensors.items())), metadata=dict(reversed(notes.items())))


def safetensors_wide(content: bytes) -> bytes:
    tensors, notes = _tensors_and_notes(content)
    return save_tensors(
        {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}, metadata=notes
    )


def safetensors_more_notes(content: bytes) -> bytes:
    tensors, notes = _tensors_and_notes(content)
    return save_tensors(tensors, metadata=notes | {"note": "Tür"})


def png_packed_otherwise(content: bytes) -> bytes:
    buffer, remark = io.BytesIO(), PngImagePlugin.PngInfo()
    remark.add_text("Comment", "made by hand")
    Image.open(io.BytesIO(content)).save(buffer, "PNG", compress_level=0, pnginfo=remark)
    return buffer.getvalue()


def png_with_alpha(content: bytes) -> bytes:
    image = Image.open(io.BytesIO(content))
    if image.mode != "RGB":
        return content
    buffer = io.BytesIO()
    image.convert("RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def jpg_remark(content: bytes) -> bytes:
    remark = "Tür".encode()
    return content[:2] + b"\xff\xfe" + struct.pack(">H", len(remark) + 2) + remark + content[2:]


def sens_motion_records(content: bytes) -> bytes:
    """The records of the motion sensor, which follow the frames and are not read."""
    return content[:-8] + struct.pack("<Q", 2) + bytes(2 * 128)


def sens_long_name(content: bytes) -> bytes:
    return content[:4] + struct.pack("<Q", 20) + b"StructureSensor" + b" one " + content[27:]


TEXTS = (with_bom, utf16, windows_lines)
BY_OTHERS = (with_bom, utf16, json_more_fields)  # what other programs and people do to text
REWRITES: dict[str, tuple[Rewrite, ...]] = {
    ".json": (*TEXTS, blank_at_end, json_indented, json_other_order, json_more_fields),
    ".txt": (*TEXTS, blank_at_end),
    ".conf": (*TEXTS, blank_at_end, blank_between),
    ".csv": (*TEXTS, cp1252),
    ".tsv": (*TEXTS, cp1252, table_other_order, table_more_columns),
    ".ply": (ply_ascii, ply_ascii_windows_lines, ply_big_endian, ply_remarks, ply_remark_in_latin, ply_remark_in_utf8,
             ply_more_columns, ply_other_order, ply_double, ply_more_elements, ply_wide_lists),
    ".npz": (npz_compressed, npz_more_arrays, npz_big_endian, npz_by_columns, npz_wide, npz_stored_again),
    ".npy": (npy_big_endian, npy_by_columns, npy_wide),
    ".pth": (torch_legacy, torch_tensors, torch_arrays, torch_gradients, torch_strided, torch_wide, torch_big_endian,
             torch_short_labels),
    ".pt": (torch_gradients, torch_strided),
    ".safetensors": (safetensors_other_order, safetensors_wide, safetensors_more_notes),
    ".png": (png_packed_otherwise, png_with_alpha),
    ".jpg": (jpg_remark,),
    ".sens": (sens_motion_records, sens_long_name),
}  # fmt: skip


def rewritten(files: Files, kind: str, rewrite: Rewrite) -> Files:
    """The folder with every file of a kind rewritten."""
    return {name: rewrite(content) if suffix(name) == kind else content for name, content in files.items()}


def with_litter(files: Files) -> Files:
    """What other systems leave in folders: macOS' twin of each file, and the previews of two file managers."""
    folders = {name.rpartition("/")[0] for name in files}
    twins = {"/".join((*name.split("/")[:-1], f"._{name.split('/')[-1]}")): b"\0\5\26\7" for name in files}
    rest = {
        f"{folder}/{name}".lstrip("/"): b"\0"
        for folder in folders
        for name in (".DS_Store", "Thumbs.db", "desktop.ini")
    }
    return files | twins | rest


assert set(TEXT) <= set(REWRITES)
