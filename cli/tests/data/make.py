"""Makes the fixtures of the command's tests: pictures as Pillow reads and resizes them.

Run in this folder with pillow 13.0.0, numpy 2.4.6, torch 2.15.0 and diffusers 0.42.1.
"""

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

WIDTH, HEIGHT = 45, 29


def photo():
    """Smooth colours with noise and a hard edge, so that a resize over- and undershoots."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    channels = [np.sin(x / 7 + y / 5), np.cos(x / 4), np.sin(y / 3 - x / 9)]
    rgb = np.stack(channels, axis=-1) * 90 + 128
    rgb += np.random.default_rng(0).normal(0, 12, rgb.shape)
    rgb[8:20, 15:30] = (255, 0, 240)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def with_orientation(image, name, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(name, exif=exif, **options)


rgb = photo()
rgb.save("photo.png")
rgb.save("photo.webp", lossless=True)
# A larger side is never needed by the command; it is here for the filter.
for width, height in [(40, 24), (13, 8), (64, 40), (45, 24), (40, 29)]:
    rgb.resize((width, height), Image.Resampling.LANCZOS).save(f"photo_{width}x{height}.png")

rgba = rgb.convert("RGBA")
rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
rgba.save("photo_rgba.png")
rgba.save("photo_rgba.webp", lossless=True, exact=True)

# Orientation 6: the camera was turned, show it turned by 90 degrees clockwise.
with_orientation(rgb, "photo_turned_6.png", 6)
with_orientation(rgb, "photo_turned_6.webp", 6, lossless=True)
with_orientation(rgb, "photo_turned_6.jpg", 6, quality=90)
rgb.save("photo.jpg", quality=90)
rgb.transpose(Image.Transpose.ROTATE_270).save("photo_turned.png")

palette = rgb.quantize(64)
palette.save("palette.png")
palette.convert("RGB").save("palette_rgb.png")

grey = rgb.convert("L")
grey.save("grey.png")
grey.convert("RGB").save("grey_rgb.png")
grey.resize((44, 28), Image.Resampling.LANCZOS).save("grey_44x28.png")

torch.manual_seed(0)
AutoencoderKL(
    in_channels=1,
    out_channels=1,
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    block_out_channels=[4, 4],
    latent_channels=2,
    norm_num_groups=2,
    force_upcast=False,
).half().save_pretrained("grey_model")
