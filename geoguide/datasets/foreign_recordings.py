"""Layouts in which other programs record colour, depth and poses: they are not read, but it is said what they hold.

Each is told by a file or folder that it alone has. How its poses become camera-to-world with the camera's axes x right,
y down, z forward is a matter of convention that nobody guesses right the first time, so the message says it.
"""

from pathlib import Path

FLIP = "camera-to-world with OpenGL's camera axes: multiply each from the right by diag(1, -1, -1, 1)"
WANTED = (
    "expected color/N.jpg, depth/N.png, pose/N.txt (camera-to-world, 4 x 4, metres) and intrinsic/intrinsic_depth.txt "
    "(the depth images', 3 x 3)"
)
LOG = (
    "a .log file holds camera-to-world poses, each after a line of three numbers; intrinsic_matrix of a .json is "
    "stored by columns; depth is in millimetres"
)
# What marks a layout, as a pattern below the folder; whose it is; what becomes of its poses and depth.
LAYOUTS = (
    ("groundtruth.txt", "TUM's", "groundtruth.txt holds time, position and quaternion (x y z w), camera-to-world; "
     "take for each colour image the depth and the pose nearest in time, and --depth-scale 5000"),
    ("lowres_wide.traj", "ARKitScenes'", "its lines hold time, rotation vector and translation, world-to-camera: "
     "invert each; take for each image the pose nearest in time; depth is in millimetres"),
    ("keyframes/cameras", "Polycam's", f"t_00 to t_23 of keyframes/cameras/*.json are the rows of poses, {FLIP}; scale "
     "the intrinsics to the depth images; depth is in millimetres"),
    ("*.r3d", "Record3D's", "export it as EXR and RGB"),
    ("EXR_RGBD", "Record3D's", f"poses of metadata.json are quaternion (x y z w) and position, {FLIP}; its K is stored "
     "by columns, scale it to the depth images; depth is in metres"),
    ("rgbd/*.depth", "Record3D's", f"poses of metadata are quaternion (x y z w) and position, {FLIP}; its K is stored "
     "by columns, scale it to the depth images; unpack depth (LZFSE, float32 metres) to .npy"),
    ("transforms.json", "Nerfstudio's", f"transform_matrix is {FLIP}; scale the intrinsics to the depth images, which "
     "are mostly in millimetres"),
    ("sparse/*/images.*", "COLMAP's", "images.txt holds quaternion (w x y z) and translation, world-to-camera: invert "
     "each; its unit is arbitrary and it has no depth, so label its dense cloud (fused.ply) instead"),
    ("traj.txt", "Replica's, as NICE-SLAM renders it", "each line of traj.txt is a camera-to-world pose; take "
     "--depth-scale 6553.5"),
    ("*traj*.log", "Open3D's or Redwood's", LOG),
    ("scene/*traj*.log", "Open3D's", LOG),
    ("odometry.csv", "Stray Scanner's", "odometry.csv holds position and quaternion (x y z w), camera-to-world; cut "
     "rgb.mp4 into images, scale camera_matrix.csv to the depth images, which are in millimetres"),
    ("*.sens", "a .sens file of ScanNet or BundleFusion", "its reader (SensReader) exports color, depth, pose and "
     "intrinsic"),
    ("*.mkv", "a video of an Azure Kinect", "it holds no poses: find them first, as Open3D's reconstruction does"),
    ("*.bag", "a recording of ROS or RealSense", "it holds no poses of the camera: find them first, as Open3D's "
     "reconstruction does"),
    ("*intrinsic*.json", "images as Open3D records them", "they have no poses yet: find them first, as its "
     "reconstruction does"),
)  # fmt: skip


def foreign_layout(folder: Path) -> str:
    """Say whose layout a folder has that is not read, and how to convert it.

    Args:
        folder: A folder of no layout that is read, or one without a file that its layout asks for.

    Returns:
        What is put behind the message, with a semicolon before it; empty where the layout is none of these.
    """
    found = next((layout for layout in LAYOUTS if any(folder.glob(layout[0]))), None)
    return "" if found is None else f"; {WANTED}, found what looks like {found[1]}: {found[2]}"
