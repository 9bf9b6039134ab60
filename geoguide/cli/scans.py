"""Commands on own scans: segment, view and fit-scan."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from geoguide.cli.arguments import (
    DepthScale,
    Device,
    MaxDepth,
    Model,
    Seed,
    Steps,
    Unit,
    Up,
    Voxel,
    Weights,
    Within,
    output_file,
    refuse_unread,
)
from geoguide.cli.common import GO_ON, READING, START_AGAIN, Positional, loaded
from geoguide.errors import InputError
from geoguide.paths import alone_beside

if TYPE_CHECKING:
    from geoguide.own_scan import Scan


@dataclass(frozen=True)
class Segment:
    """Label a scan (ply, npz, bin, pth, las, laz, e57) or a folder with a list of words.

    A folder is a ScanNet scene, whose official mesh is labelled; a scene as Pointcept preprocesses it (coord.npy);
    another folder of RGB-D frames, which is reconstructed; or one LiDAR key frame: a LiDAR file, camera images and
    calibration.json, which says where each camera stands.
    """

    scan: Positional[Path]
    labels: str
    """Words separated by commas, e.g. "chair, whiteboard"; one that holds a comma in double quotes of its own."""
    model: Model = "mini"
    out: Path | None = None
    """Labelled ply, las or laz; default <scan>_labelled.ply in the working directory, of a las or laz of its own kind,
    with all that it holds. The summary goes beside it as .json."""
    columns: Annotated[int | None, Within(3, 6)] = None
    """Float32 columns of a .bin file: 6 is x y z r g b, 3 to 5 start with x y z; asked for where it is ambiguous."""
    unit: Unit = None
    up: Up = None
    weights: Weights = None
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    masks: bool = False
    """Also find superpoints and class-agnostic instance masks: two more columns in the ply."""
    html: Path | None = None
    """Also write a page of this name (.html) that shows the result in any browser, without a network."""
    tile: Annotated[float | None, Within(0.1)] = None
    """Edge in metres of the tiles in which a large scan is labelled; default by memory, from a million points on."""
    halo: Annotated[float, Within(0)] = 12.8
    """Metres around a tile that its labels see: less is faster, and differs more from the scan labelled whole."""
    device: Device = "auto"

    interrupted = START_AGAIN

    def run(self) -> None:
        """Write the labelled cloud and its summary, and print the share of every label."""
        from geoguide import own_scan

        names = own_scan.parse_labels(self.labels)
        read = [Path(path) for path in (self.scan, self.model, self.weights) if path is not None]
        default, about = own_scan.default_name(self.scan), ("scan", "points", "labels")
        kinds = (".ply", *own_scan.LAS)
        out = output_file(self.out, default, kinds, inputs=read, summary=about, own=own_scan.is_labelled)
        own_scan.need_writer(out)
        page = None if self.html is None else output_file(self.html, out, ".html", option="--html", inputs=read)
        model = loaded(self.model, self.weights, self.device)
        model.check_labels(names)
        scan = _opened(self, self.columns)
        sizes = {"tile": self.tile, "halo": self.halo, "progress": True}
        result = own_scan.segment_scan(scan, model, names, masks=self.masks, **sizes)
        with alone_beside(out):  # of two commands at once, the page is of that which the cloud is of
            own_scan.write_labelled(out, result, self.scan)
            if page is not None:
                own_scan.write_page(page, result)
        for line in own_scan.report_lines(result):
            print(line)
        print(f"{out}: {len(result.ids)} points; model {model.trained_on}")


@dataclass(frozen=True)
class View:
    """Explore a scan in a browser: type words, and see where they are. Needs the extra `viewer`, and no network.

    The scan is one that `segment` takes. Colours show labels, the heat map of a word, superpoints, masks or the images,
    and what a 2D model says of these; a click on a point tells its best words and shows the images that see it.
    """

    scan: Positional[Path]
    labels: str = "floor, wall, chair, table"
    """The words at the start, separated by commas; others are typed in the browser."""
    model: Model = "mini"
    features: str | None = None
    """A 2D model, as for `fit-scan`, whose heat map of a word is shown beside the model's."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 lets other machines see the scan."""
    port: Annotated[int, Within(0, 65535)] = 8080
    """0: any free one."""
    columns: Annotated[int | None, Within(3, 6)] = None
    """Float32 columns of a .bin file, as for `segment`."""
    unit: Unit = None
    up: Up = None
    weights: Weights = None
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    device: Device = "auto"

    interrupted = START_AGAIN

    def run(self) -> None:
        """Serve the scan until Ctrl-C."""
        from geoguide import own_scan
        from geoguide.own_scan import viewer
        from geoguide.teachers.registry import identified, parse_spec, teacher_of

        names = own_scan.parse_labels(self.labels)
        viewer.need_viser()
        viewer.check_address(self.host, self.port)
        model = loaded(self.model, self.weights, self.device)
        model.check_labels(names)
        teacher = None if self.features is None else teacher_of(identified(parse_spec(self.features)))
        scan = _opened(self, self.columns)
        for said in scan.scene.as_read:
            print(said)
        if teacher is not None and not any(view.has_pose for view in scan.scene.views):
            raise InputError(f"--features {self.features}: {self.scan} has no image with a pose to ask about")
        with viewer.serving(viewer.Exploration(scan, model, names, teacher), self.host, self.port) as served:
            viewer.wait(f"{served.url} shows {len(scan.scene)} points; Ctrl-C ends")


@dataclass(frozen=True)
class FitScan:
    """From images to a model of one's own: distil a 2D model on one scan, without labels, and label the scan with it.

    Reconstructs, lifts what a 2D model says of the images, corrects it by geometry, trains, and compares with images
    that were held out. The scan is a folder of colour, depth and pose, or one LiDAR key frame with its cameras.
    """

    scan: Positional[Path]
    labels: str
    """Words separated by commas, e.g. "chair, whiteboard"; one that holds a comma in double quotes of its own."""
    features: str = "mini:lseg-mini"
    """The 2D model: transformers:NAME_OR_FOLDER, litert:FILE, open_clip:MODEL, own:MODULE:CALLABLE, or mini:NAME,
    which was trained on generated rooms and knows little of real ones."""
    backbone: str = "sonata-mini+descriptors"
    """Frozen 3D features."""
    weights: str | None = None
    """Of the backbone, if others released it; default the hub's (Sonata's alone)."""
    drop: str = "none"
    """Modules to leave out: none, usd, imr, iirc, or several joined by +."""
    steps: Steps = None
    """Of the training; default those of one room."""
    seed: Seed = 0
    out: Path | None = None
    """The model; default <scan>_model.safetensors in the working directory. The labelled ply goes beside it, with a
    summary as .json."""
    unit: Unit = None
    up: Up = None
    voxel: Voxel = 0.03
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    device: Device = "auto"

    interrupted = GO_ON

    def run(self) -> None:
        """Write model, labelled cloud and summary, and print the share of every label and the agreement."""
        from geoguide import own_scan
        from geoguide.own_scan import fit as own_model

        names, name = own_scan.parse_labels(self.labels), Path(os.path.abspath(self.scan)).stem
        out = output_file(self.out, Path(f"{name}_model.safetensors"), ".safetensors", inputs=[self.scan])
        about = ("scan", "points", "labels")
        beside = out.with_name(f"{out.stem.removesuffix('_model')}_labelled.ply")
        labelled = output_file(None, beside, ".ply", summary=about, own=own_scan.is_labelled)
        fitted = own_model.fit_scan(
            functools.partial(_opened, self),
            self.features,
            labels=names,
            backbone=self.backbone,
            weights=self.weights,
            drop=self.drop,
            steps=self.steps or own_model.STEPS,
            seed=self.seed,
            device=self.device,
        )
        result = own_scan.segment_scan(fitted.scan, fitted.model, names)
        agreement = own_model.with_agreement(result, fitted)
        fitted.save(out, labelled, result)
        for line in (*own_scan.report_lines(result), agreement):
            print(line)
        print(f"{out}: model of {len(fitted.learned.views)} images; {labelled}: {len(result.ids)} points")


def _opened(asked: Segment | View | FitScan, columns: int | None = None) -> "Scan":
    """The scan of a command, read as its options say."""
    from geoguide import own_scan

    if os.path.isfile(asked.scan) or own_scan.is_scannet(asked.scan):
        refuse_unread(asked, {"voxel"}, "folders of depth images that are reconstructed")
    how = {name: getattr(asked, name) for name in READING}
    return own_scan.open_scan(asked.scan, columns, asked.voxel, **how)
