"""Measure what each module does to the errors that the paper gives it: results/mechanisms.json (chapter 03). No timing.

    python benchmarks/mechanisms.py [SEED]

On the test rooms of the small edition. Rows are trained, or read from finished checkpoints; each is written as soon as
it is there, and rows that are there already are kept.
"""

import sys

from geoguide.errors import DataError
from geoguide.experiments.presets import adapter_only, fusion, preset
from geoguide.method.objective import MODULES
from geoguide.paths import checkpoints_root
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.prepare import prepare_split
from geoguide.pipeline.train import fit
from geoguide.report.mechanisms import of_lifted, of_student, read_symptoms, symptoms, write_symptoms


def main(seed: int) -> None:
    """Every row in turn."""
    try:
        found = {name: one for name, one in read_symptoms().items() if one.seed == seed}
    except DataError:
        found = {}
    drops = ("none", *MODULES)
    plain = fusion(seed)
    test = prepare_split(plain, "test", progress=False)
    text = class_text(plain.data.label_set, plain.protocol, plain.text)
    for config in (plain, adapter_only(seed), *(preset(drop=drop, seed=seed) for drop in drops)):
        if config.name in found:
            continue
        student = None
        if config.protocol.mode != "fusion":
            student = fit(config, run_dir=checkpoints_root(), progress=False).student
        predicted = of_lifted(test, text) if student is None else of_student(student, test, text)
        miou = evaluate(config, student, scenes=test).miou
        found[config.name] = symptoms(predicted, text.vectors.numpy(), seed=seed, miou=round(miou, 3))
        print(config.name, found[config.name], flush=True)
        write_symptoms(found)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
