"""MNN: f32 at its normal precision and memory settings, the module interface."""

import measure
import MNN.expr
import MNN.nn
import numpy as np


def load(job: measure.Job) -> measure.Call:
    settings = {
        "backend": "CPU",
        "precision": "normal",
        "memory": "normal",
        "numThread": job.threads,
    }
    runtime = MNN.nn.create_runtime_manager((settings,))
    module = MNN.nn.load_module_from_file(
        job.form("mnn", ".mnn"), ["in0"], ["out0"], runtime_manager=runtime, shape_mutable=False
    )

    def call(values):
        values = MNN.expr.const(values, list(values.shape), MNN.expr.NCHW)
        result = MNN.expr.convert(module.forward([values])[0], MNN.expr.NCHW)
        return np.array(result.read())

    return call


if __name__ == "__main__":
    measure.main(load, "MNN")
