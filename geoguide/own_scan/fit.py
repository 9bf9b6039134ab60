"""`geoguide fit-scan`: from a scan with images to a model of one's own, distilled on that scan without any label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from geoguide.backbones import BackboneConfig
from geoguide.backbones.config import identity
from geoguide.errors import InputError
from geoguide.experiments.presets import preset
from geoguide.lifting import LiftingConfig, lift
from geoguide.model import GeoGuideModel, from_fit
from geoguide.ops.devices import resolve_device
from geoguide.own_scan.labelled import write_labelled
from geoguide.own_scan.scan import Scan, Segmentation, lifting_of
from geoguide.paths import alone_beside, checkpoints_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare
from geoguide.pipeline.train import fit
from geoguide.scene import Scene, View
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import identified, parse_spec, teacher_of
from geoguide.text.encoder import same_pair

HELD_OUT = 5  # every so many frames one is not learned from, and says how well the others were
STEPS = 1000  # of one room, chapter 14
CHUNK = 65_536  # points that are compared with the words at a time


@dataclass(frozen=True)
class Agreement:
    """How often frames that were not learned from say the same word of a point.

    Attributes:
        frames: How many frames were held out.
        points: Pairs of a point and such a frame that sees it, in which the point also has a lifted feature.
        model: The share in which the model says the frame's word, in 0..1.
        lifted: The share in which the lifted feature does.
    """

    frames: int
    points: int
    model: float
    lifted: float


@dataclass(frozen=True, eq=False)
class FittedScan:
    """A model of one scan.

    Attributes:
        scan: What it is of.
        model: What was trained; `segment_scan` labels the same scan with it, and others like it.
        learned: The scan with the frames that were learned from.
        held_out: The other frames.
        lifted: F_2d of the points, float32 [P, C]; 0 where no frame that was learned from sees one.
        seen: bool [P], which points have one.
        teacher: The 2D model.
        lifting: How frames were lifted.
    """

    scan: Scan
    model: GeoGuideModel
    learned: Scene
    held_out: tuple[View, ...]
    lifted: np.ndarray
    seen: np.ndarray
    teacher: ImageTeacher
    lifting: LiftingConfig

    @torch.inference_mode()
    def agreement(self, ids: np.ndarray, labels: tuple[str, ...]) -> Agreement | None:
        """Compare with the frames that were held out: a check that needs no label.

        The 2D model says the word of each of their pixels. Where its errors repeat in every view, both shares are high
        for the wrong reason: agreement says what was learned, not what is true.

        Args:
            ids: int64 [P], the model's word of each point.
            labels: The words.

        Returns:
            The agreement; None where no frame was held out, or they see nothing that the others saw.
        """
        text = self.teacher.text(labels)  # [K, C]
        own = _nearest(self.lifted, text)  # [P]
        same, points = np.zeros(2), 0
        frames = replace(self.learned, views=self.held_out)
        for view, said in zip(self.held_out, self.teacher.features(frames), strict=True):
            alone = replace(self.learned, views=(view,))
            features, count = lift(alone, [said], self.lifting)
            both = np.flatnonzero(self.seen & (np.asarray(count) > 0))
            word = _nearest(np.asarray(features)[both], text)
            same += [(ids[both] == word).sum(), (own[both] == word).sum()]
            points += len(both)
        return Agreement(len(self.held_out), points, *(same / points).tolist()) if points else None

    def save(self, out: Path, labelled: Path, result: Segmentation) -> None:
        """Write the model, and the scan that it labelled; of two processes that do so at once, all files are of one.

        Args:
            out: The model, .safetensors.
            labelled: The ply, in the same folder; its summary goes beside it.
            result: What `segment_scan` returns for this model.

        Raises:
            WriteError: A file cannot be written.
        """
        with alone_beside(out):
            self.model.save(out)
            write_labelled(labelled, result)


def _nearest(features: np.ndarray, text: np.ndarray) -> np.ndarray:
    """The word of largest dot product for each of n features [n, C], int64 [n]; never all n K products at once."""
    parts = np.array_split(features, len(features) // CHUNK + 1)
    return np.concatenate([(part @ text.T).argmax(1) for part in parts])


def fit_scan(
    scan: Scan | Callable[[], Scan],
    features: str = "mini:lseg-mini",
    *,
    labels: Sequence[str] = (),
    backbone: str = "sonata-mini+descriptors",
    weights: str | None = None,
    drop: str = "none",
    steps: int = STEPS,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> FittedScan:
    """Distil a 2D model into a model of one scan: frames, lifting, superpoints, masks, USD, IMR and IIRC.

    One frame of `HELD_OUT` is not learned from. Losses are weighed by gradient, the setting that carried over to a real
    room unchanged (chapter 14). Frozen stages and checkpoints are kept, so that an interrupted run goes on.

    Args:
        scan: As `own_scan.open_scan` returns it, or what opens it, which is called once all else is known to be right;
            it needs images with poses.
        features: The 2D model, as `teachers.registry` names them.
        labels: Words that will be asked for: whether its text space can tell them apart is found out before the work.
        backbone: The frozen 3D features.
        weights: Of the backbone, where it is a file of yours.
        drop: Modules to leave out, as in `presets.preset`.
        steps: Of the training.
        seed: Of the training.
        device: See `ops.devices.resolve_device`.
        progress: Whether to show progress bars.

    Returns:
        The model, and what the check by agreement needs.

    Raises:
        InputError: The scan has no image with a pose, or two words are the same to the text encoder.
        ConfigError: As `presets.preset` and `identified`.
        DataError: As `identified` and `fit`; weights of the backbone are missing, or no frame sees a point.
    """
    config, teacher = settings(
        features, labels=labels, backbone=backbone, weights=weights, drop=drop, steps=steps, seed=seed
    )
    place = resolve_device(device)
    scan = scan if isinstance(scan, Scan) else scan()
    views = scan.scene.with_poses().views
    if not views:
        raise InputError(f"{scan.scene.name}: a model is distilled from images with poses, found none")
    held_out = views[HELD_OUT - 1 :: HELD_OUT]
    learned = replace(scan.scene, views=tuple(view for i, view in enumerate(views, 1) if i % HELD_OUT))
    config = config.replace(lifting=lifting_of(scan))
    prepared = prepare(learned, config, device=place, training=True)
    fitted = fit(config, train=[prepared], val=[], device=device, run_dir=checkpoints_root(), progress=progress)
    lifted, seen = prepared.features(np.arange(len(prepared)))
    kept = from_fit(fitted, config)
    return FittedScan(scan, kept, learned, held_out, np.asarray(lifted, np.float32), seen, teacher, config.lifting)


def settings(
    features: str,
    *,
    labels: Sequence[str] = (),
    backbone: str = "sonata-mini+descriptors",
    weights: str | None = None,
    drop: str = "none",
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[ExperimentConfig, ImageTeacher]:
    """Find out whether all that `fit_scan` takes beside the scan is right, which no scan need be opened for.

    Args:
        features: As `fit_scan` takes it, and so all others.
        labels: Words that will be asked for.
        backbone: The frozen 3D features.
        weights: Of the backbone.
        drop: Modules to leave out.
        steps: Of the training.
        seed: Of the training.

    Returns:
        The experiment, without the lifting, which is the scan's; and the 2D model.

    Raises:
        InputError: Two words are the same to the text encoder.
        ConfigError: As `presets.preset` and `identified`.
        DataError: As `identified`, or weights of the backbone are missing.
    """
    model = identified(parse_spec(features))
    teacher = teacher_of(model)
    same = same_pair(teacher.text(labels)) if labels else None
    if same is not None:
        raise InputError(f"labels: {labels[same[0]]!r} and {labels[same[1]]!r} are the same to {model.name}")
    config = preset(drop=drop, seed=seed, edition="large").replace(
        name="works-best by gradient" if drop == "none" else f"works-best by gradient, without {drop}",
        image_model=model,
        text=model.space,
        backbone=BackboneConfig(backbone, weights=weights),
        train__steps=steps,
        train__evaluate_every=max(1, steps // 10),
    )
    identity(config.backbone)
    return config, teacher


def with_agreement(result: Segmentation, fitted: FittedScan) -> str:
    """Add the check by agreement to what is written of a labelled scan.

    Args:
        result: The scan as the model labels it; its summary gets a field `agreement`, null where nothing can be said.
        fitted: The model.

    Returns:
        The check in words.
    """
    found = fitted.agreement(result.ids, result.labels)
    result.summary["agreement"] = (
        None
        if found is None
        else {
            "held_out_frames": found.frames,
            "points": found.points,
            "model": round(found.model, 4),
            "lifted": round(found.lifted, 4),
        }
    )
    if found is None:
        return "no image could be held out to check with"
    return (
        f"{found.frames} images were not learned from: of the points that they see the model says their word for "
        f"{100 * found.model:.1f} %, the lifted features of the other images for {100 * found.lifted:.1f} %"
    )
