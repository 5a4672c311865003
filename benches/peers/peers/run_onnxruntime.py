"""ONNX Runtime: f32, all graph optimisations."""

import measure
import onnxruntime


def load(job: measure.Job) -> measure.Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        job.form("onnx", ".onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda values: session.run(None, {"in0": values})[0]


if __name__ == "__main__":
    measure.main(load, "onnxruntime")
