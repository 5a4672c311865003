#!/usr/bin/env python3
"""Checks at random that no process exceeds the memory that was planned for it.

usage: peak_sweep.py VAEKL [--cases 200] [--seed 1] [--most 16384] [--work FOLDER]

Each case draws a model (a fixture of each family, or a narrow AutoencoderKL that is made here), a
direction, a size, a storage, threads, a tiling, a scratch folder or none, and a budget between the
least that the command names and what it plans without one, or none. The command runs in a process
of its own, whose peak the system counts (ru_maxrss). The bound is the budget, or without one the
plan's peak. An output that is not written row by row may be refused with what it needs, which then
is the budget. Needs python3 and cc on Linux, and as much memory as the largest case draws
(--memory).
"""
import argparse
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import zlib

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data")
FIXTURES = ["sd_like", "wide_36", "five_levels", "grey_one_channel", "relu_no_mid_attention"]
FAMILIES = ["asymmetric", "flux2", "taesd", "tiny", "tiny_silu_16", "taef2_diffusers_names"]
MIB = 1 << 20


def safetensors(path, tensors):
    """Writes {name: (shape, values)} as F32."""
    header, data, at = {}, [], 0
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def narrow_model(folder, channels, levels, random_values):
    """An AutoencoderKL of one width, without attention: little memory for many pixels."""
    tensors = {}

    def conv(name, to, of, kernel):
        count, scale = to * of * kernel * kernel, (of * kernel * kernel) ** -0.5
        values = [random_values.gauss(0, scale) for _ in range(count)]
        tensors[f"{name}.weight"] = ([to, of, kernel, kernel], values)
        tensors[f"{name}.bias"] = ([to], [random_values.gauss(0, 0.1) for _ in range(to)])

    def resnet(name):
        for part in ("1", "2"):
            tensors[f"{name}.norm{part}.weight"] = ([channels], [1.0] * channels)
            tensors[f"{name}.norm{part}.bias"] = ([channels], [0.1] * channels)
            conv(f"{name}.conv{part}", channels, channels, 3)

    latents = 4
    for half, blocks, sampler, resnets, ends in (
        ("encoder", "down_blocks", "downsamplers", 1, (3, 2 * latents)),
        ("decoder", "up_blocks", "upsamplers", 2, (latents, 3)),
    ):
        conv(f"{half}.conv_in", channels, ends[0], 3)
        for level in range(levels):
            for index in range(resnets):
                resnet(f"{half}.{blocks}.{level}.resnets.{index}")
            if level + 1 < levels:
                conv(f"{half}.{blocks}.{level}.{sampler}.0.conv", channels, channels, 3)
        for index in (0, 1):
            resnet(f"{half}.mid_block.resnets.{index}")
        tensors[f"{half}.conv_norm_out.weight"] = ([channels], [1.0] * channels)
        tensors[f"{half}.conv_norm_out.bias"] = ([channels], [0.0] * channels)
        conv(f"{half}.conv_out", ends[1], channels, 3)
    config = {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [channels] * levels,
        "layers_per_block": 1,
        "act_fn": "silu",
        "latent_channels": latents,
        "norm_num_groups": 1,
        "sample_size": 64,
        "mid_block_add_attention": False,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "force_upcast": False,
    }
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    safetensors(os.path.join(folder, "diffusion_pytorch_model.safetensors"), tensors)


def write_npy(path, shape, random_values):
    """An array of random values that repeat every few rows."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    block = struct.pack("<4099f", *(random_values.gauss(0, 1) for _ in range(4099)))
    left = 4 * shape[0] * shape[1] * shape[2] * shape[3]
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def write_png(path, width, height, random_values):
    """An RGB picture of rows that repeat."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = [b"\0" + random_values.randbytes(3 * width) for _ in range(4)]
    deflate = zlib.compressobj(1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head))
        for y in range(height):
            file.write(chunk(b"IDAT", deflate.compress(rows[y % 4])))
        file.write(chunk(b"IDAT", deflate.flush()) + chunk(b"IEND", b""))


def run(peak_of, command, timeout):
    """Exit status, stderr, and the peak in bytes of a process of its own."""
    answer, told = os.pipe()
    with tempfile.TemporaryFile() as errors, open(os.devnull, "wb") as nothing:
        # As descriptor 3.
        words = ["sh", "-c", f'exec "$0" "$@" 3>&{told}', peak_of, *command]
        process = subprocess.Popen(
            words, stdout=nothing, stderr=errors, pass_fds=[told], start_new_session=True
        )
        os.close(told)
        with open(answer, encoding="ascii") as answer_file:
            try:
                process.wait(timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            status, peak = map(int, answer_file.read().split())
        errors.seek(0)
        return status, errors.read().decode(errors="replace"), peak


def asked(vaekl, command, options):
    """The plan of a call as JSON, or the least budget that an error names."""
    found = subprocess.run(
        [vaekl, "plan", *command, *options, "--json"], capture_output=True, text=True
    )
    if found.returncode == 0:
        return json.loads(found.stdout), None
    least = re.search(r"at least (\d+) MiB", found.stderr)
    if not least:
        raise SystemExit(f"plan {command} {options}: {found.stderr}")
    return None, int(least[1])


class Sweep:
    def __init__(self, arguments, work):
        self.vaekl, self.work, self.arguments = arguments.vaekl, work, arguments
        self.random = random.Random(arguments.seed)
        self.models = [os.path.join(DATA, name) for name in FIXTURES]
        self.models += [os.path.join(DATA, "families", name) for name in FAMILIES]
        self.models = [model for model in self.models if os.path.exists(model)]
        self.narrow = []
        for channels, levels in ((1, 4), (2, 3), (4, 4)):
            folder = os.path.join(work, f"narrow_{channels}_{levels}")
            narrow_model(folder, channels, levels, self.random)
            self.narrow.append(folder)
        self.peak_of = os.path.join(work, "peak_of")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peak_of.c")
        subprocess.run(["cc", "-O1", source, "-o", self.peak_of], check=True)
        self.scratch = os.path.join(work, "scratch")
        os.makedirs(self.scratch)

    def draw(self):
        """A case: the call, its options, and the plan without a budget."""
        pick, refusal = self.random.choice, None
        for _ in range(1000):
            large = self.random.random() < 0.4
            model = pick(self.narrow if large else self.models)
            call = pick(["decode", "decode", "encode"])
            most = self.arguments.most if large else 1024
            if call == "encode":
                most = min(most, 4096)
            side = lambda: int(2 ** self.random.uniform(5, most.bit_length() - 1)) // 16 * 16
            width, height = side(), side()
            options = ["--model", model, "--threads", str(pick([1, 2, 3, 8]))]
            options += ["--dtype", pick(["f32", "bf16", "f16"])]
            options += ["--tiling", pick(["exact", "exact", "diffusers", "seamless"])]
            if pick([True, False]):
                options += ["--scratch", self.scratch]
            command = [call, "--size", f"{width}x{height}"]
            try:
                plan, _ = asked(self.vaekl, command, options)
            except SystemExit as error:
                refusal = error  # Tiles that this size does not fit.
                continue
            if plan and plan["peak_bytes"] < self.arguments.memory * MIB:
                return call, (width, height), command, options, plan
        raise SystemExit(f"no case can be planned, such as: {refusal}")

    def channels(self, model):
        found = subprocess.run(
            [self.vaekl, "info", model, "--json"], capture_output=True, text=True, check=True
        )
        return json.loads(found.stdout)

    def case(self, number):
        call, (width, height), command, options, plan = self.draw()
        budget = None
        # Png is written row by row; a plan does not know of the others, whose budget does.
        ending = self.random.choice(["png", "png", "webp", "jpg", "npy"])
        ending = ending if call == "decode" and max(width, height) < 16384 else "png"
        if self.random.random() < 0.75 or ending != "png":
            _, least = asked(self.vaekl, command, [*options, "--memory", "1M"])
            fastest = -(-plan["peak_bytes"] // MIB)
            budget = self.random.randint(least, max(least, fastest))
            budget = self.random.choice([least, budget])
        info = self.channels(options[1])
        if call == "decode":
            factor, channels = info["downscale"], info["config"]["latent_channels"]
            given = os.path.join(self.work, "latents.npy")
            shape = (1, channels, height // factor, width // factor)
            write_npy(given, shape, self.random)
            made = os.path.join(self.work, f"out.{ending}")
        else:
            given, made = (os.path.join(self.work, name) for name in ("in.png", "out.npy"))
            write_png(given, width, height, self.random)
        command = [self.vaekl, call, given, "-o", made, *options, "--quiet"]
        limits = [] if budget is None else ["--memory", f"{budget}M"]
        status, errors, peak = run(self.peak_of, [*command, *limits], 600)
        least = re.search(r"at least (\d+) MiB", errors)
        if status == 1 and least and ending != "png":
            budget = int(least[1])
            limits = ["--memory", f"{budget}M"]
            status, errors, peak = run(self.peak_of, [*command, *limits], 600)
        if os.path.exists(made):
            os.unlink(made)
        bound = plan["peak_bytes"] if budget is None else budget * MIB
        words = f"{call} {width}x{height} {made[-4:]} {' '.join(options[2:])}"
        limit = "no budget" if budget is None else f"budget {budget} MiB"
        print(
            f"{number:4} {os.path.basename(options[1]):22} {words}, {limit}: exit {status}, "
            f"{peak / MIB:.1f} of {bound / MIB:.1f} MiB {errors.strip()[:200]}",
            flush=True,
        )
        return status == 0, peak <= bound, bound - peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vaekl")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=16384, help="longest side of a narrow model's")
    parser.add_argument("--memory", type=int, default=8192, help="largest plan to run, in MiB")
    parser.add_argument("--work", help="folder for files, with room for the scratch file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        sweep = Sweep(arguments, work)
        results = [sweep.case(number) for number in range(1, arguments.cases + 1)]
    failed = sum(not ended for ended, _, _ in results)
    exceeded = sum(not within for _, within, _ in results)
    tightest = min(slack for _, _, slack in results) / MIB
    print(
        f"{len(results)} cases, {failed} failed, {exceeded} exceeded their bound; the nearest "
        f"stayed {tightest:.1f} MiB below it"
    )
    return 1 if failed or exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
