"""PyTorch: diffusers' AutoencoderKL, or the class that the model's configuration names, in
channels_last, its faster layout on processors."""

import json

import diffusers
import measure
import torch

# diffusers imports the classes on first use; here, so that it is not counted as loading.
CLASSES = {"AutoencoderKL": diffusers.AutoencoderKL, "AutoencoderTiny": diffusers.AutoencoderTiny}

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def load(job: measure.Job) -> measure.Call:
    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    dtype = DTYPES[job.dtype]
    name = json.loads((job.dir / "model" / "config.json").read_text())["_class_name"]
    vae = CLASSES[name].from_pretrained(job.dir / "model", torch_dtype=dtype).eval()
    vae = vae.to(memory_format=torch.channels_last)

    def call(values):
        values = torch.from_numpy(values).to(dtype).contiguous(memory_format=torch.channels_last)
        if job.what == "decode":
            result = vae.decode(values, return_dict=False)[0]
        else:
            encoded = vae.encode(values)
            tiny = name == "AutoencoderTiny"
            result = encoded.latents if tiny else encoded.latent_dist.parameters
        return result.float().contiguous().numpy()

    return call


if __name__ == "__main__":
    measure.main(load, "torch")
