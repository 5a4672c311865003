"""One peer's form of the model, for one operation and one size; setup.sh calls this for each.

    make_form.py onnx|openvino|ncnn|mnn --dir DIR --what decode|encode --size 512

Every form has static shapes, which each of these programs runs fastest. MNN's is made of the
ONNX file.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL


class Decoder(torch.nn.Module):
    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents):
        return self.decoder(self.post_quant_conv(latents))


class Encoder(torch.nn.Module):
    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, pictures):
        return self.quant_conv(self.encoder(pictures))


def torch_module(options) -> tuple[torch.nn.Module, torch.Tensor]:
    """The operation as a module of one input, and an input of the shape."""
    vae = AutoencoderKL.from_pretrained(options.dir / "model").eval()
    if options.what == "decode":
        return Decoder(vae).eval(), torch.randn(1, 4, options.size // 8, options.size // 8)
    return Encoder(vae).eval(), torch.rand(1, 3, options.size, options.size) * 2 - 1


def run_tool(tool: str, *arguments: str) -> None:
    """A program of the virtual environment, silent unless it fails."""
    line = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{tool} failed with {done.returncode}:\n{done.stdout[-2000:]}")


def make_onnx(options, stem: Path) -> list[Path]:
    module, values = torch_module(options)
    path = stem.with_suffix(".onnx")
    # The tracing exporter: what all three readers of ONNX files know best.
    torch.onnx.export(
        module,
        (values,),
        path,
        opset_version=17,
        dynamo=False,
        input_names=["in0"],
        output_names=["out0"],
    )
    return [path]


def make_openvino(options, stem: Path) -> list[Path]:
    import openvino

    module, values = torch_module(options)
    model = openvino.convert_model(module, example_input=values, input=[list(values.shape)])
    path = stem.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=False)
    return [path, path.with_suffix(".bin")]


def make_ncnn(options, stem: Path) -> list[Path]:
    module, values = torch_module(options)
    traced = stem.with_suffix(".pt")
    torch.jit.trace(module, values, check_trace=False).save(traced)
    shape = ",".join(str(n) for n in values.shape)
    run_tool("pnnx", str(traced), f"inputshape=[{shape}]", "fp16=0")
    return [stem.with_suffix(".ncnn.bin"), stem.with_suffix(".ncnn.param")]


def make_mnn(options, stem: Path) -> list[Path]:
    onnx, path = options.dir / "onnx" / f"{stem.name}.onnx", stem.with_suffix(".mnn")
    run_tool(
        "mnnconvert",
        "-f",
        "ONNX",
        "--modelFile",
        str(onnx),
        "--MNNModel",
        str(path),
        "--bizCode",
        "vae",
    )
    return [path]


FORMS = {"onnx": make_onnx, "openvino": make_openvino, "ncnn": make_ncnn, "mnn": make_mnn}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--what", choices=["decode", "encode"], required=True)
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args()
    folder = options.dir / options.form
    folder.mkdir(exist_ok=True)
    # The converters leave other files beside theirs, and half a file when they are stopped.
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        stem = Path(scratch) / f"{options.what}_{options.size}"
        for path in FORMS[options.form](options, stem):
            path.rename(folder / path.name)


if __name__ == "__main__":
    main()
