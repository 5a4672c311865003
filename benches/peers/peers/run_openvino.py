"""OpenVINO: one request at a time, in the precision asked for."""

import measure
import numpy as np
import openvino


def load(job: measure.Job) -> measure.Call:
    settings = {
        "INFERENCE_PRECISION_HINT": job.dtype,
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(job.form("openvino", ".xml"), "CPU", settings)
    request = model.create_infer_request()

    def call(values):
        request.infer([values])
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    return call


if __name__ == "__main__":
    measure.main(load, "openvino")
