"""Named scoring protocols: the same network under another protocol gets another number (paper, Reported results)."""

from dataclasses import replace

from geoguide.pipeline.config import Protocol

# One pass over the cloud as it is; classes that no test scene holds are left out of the mean.
STRICT = Protocol(absent_class="skip")

# What the tables of OpenScene, and of the papers that follow it, are made with, as far as its code tells: its prompt,
# its word for other things, nuScenes through finer names, five passes of the turned and scaled cloud, absent classes
# counted as zero, and in fusion mode points without feature missing from the false negatives.
OPENSCENE = Protocol(
    prompt="a {} in a scene", other="bare", finer_names=True, repeats=5, absent_class="zero", no_feature="openscene"
)

PROTOCOLS = {
    "strict": STRICT,
    "openscene": OPENSCENE,
    "openscene-ensemble": replace(OPENSCENE, mode="ensemble"),  # per point the surer of 3D and 2D: needs the images
}

# From the book's own protocol to `strict` and to `openscene`, one part at a time: how far does each move a number?
STEPS = {
    "this book's default": Protocol(),
    "absent classes left out (strict)": STRICT,
    "OpenScene's prompt": Protocol(prompt=OPENSCENE.prompt, other=OPENSCENE.other),
    "five passes": Protocol(repeats=OPENSCENE.repeats),
    "ensemble": Protocol(mode="ensemble"),
    "openscene": OPENSCENE,
    "openscene-ensemble": PROTOCOLS["openscene-ensemble"],
}
