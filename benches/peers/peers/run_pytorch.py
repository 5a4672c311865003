"""PyTorch: diffusers' AutoencoderKL in channels_last, its faster layout on processors."""

import measure
import torch
from diffusers import AutoencoderKL

# diffusers imports the class on first use; here, so that it is not counted as loading.
AutoencoderKL.from_pretrained  # noqa: B018

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def load(job: measure.Job) -> measure.Call:
    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    dtype = DTYPES[job.dtype]
    vae = AutoencoderKL.from_pretrained(job.dir / "model", torch_dtype=dtype).eval()
    vae = vae.to(memory_format=torch.channels_last)

    def call(values):
        values = torch.from_numpy(values).to(dtype).contiguous(memory_format=torch.channels_last)
        if job.what == "decode":
            result = vae.decode(values, return_dict=False)[0]
        else:
            result = vae.encode(values).latent_dist.parameters
        return result.float().contiguous().numpy()

    return call


if __name__ == "__main__":
    measure.main(load, "torch")
