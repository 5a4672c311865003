"""ncnn: f32, or bf16 storage with f32 sums. Winograd and packed layouts on, as by default."""

import measure
import ncnn
import numpy as np


def load(job: measure.Job) -> measure.Call:
    net = ncnn.Net()
    bf16 = job.dtype == "bf16"
    net.opt.num_threads = job.threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = bf16
    if hasattr(net.opt, "use_bf16_packed"):
        net.opt.use_bf16_packed = bf16
    for read, suffix in ((net.load_param, ".ncnn.param"), (net.load_model, ".ncnn.bin")):
        if read(job.form("ncnn", suffix)) != 0:
            raise RuntimeError(f"ncnn cannot read {job.form('ncnn', suffix)}")

    def call(values):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(values[0]))
        status, result = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn failed with {status}")
        return np.array(result)[None]

    return call


if __name__ == "__main__":
    measure.main(load, "ncnn")
