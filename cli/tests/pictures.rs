//! Pictures of every kind become the array that Pillow and diffusers make of them. The encoder's
//! latents tell: equal inputs have equal ones, and the slightest difference shows.

mod common;

use std::io::Cursor;
use std::path::Path;

use common::{Folder, data, npy};
use image::{DynamicImage, ImageFormat};

fn assert_same(folder: &Folder, a: &Path, b: &Path, options: &[&str]) {
    let same = folder.latents(a, options) == folder.latents(b, options);
    assert!(same, "{} and {} differ", a.display(), b.display());
}

fn assert_different(folder: &Folder, a: &Path, b: &Path) {
    let same = folder.latents(a, &[]) == folder.latents(b, &[]);
    assert!(!same, "{} and {} are the same", a.display(), b.display());
}

fn save(folder: &Folder, name: &str, image: &DynamicImage) -> std::path::PathBuf {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    folder.write(name, &bytes.into_inner())
}

#[test]
fn odd_sizes_are_resized_as_by_pillow_and_said_so() {
    let folder = Folder::new();
    assert_same(&folder, &data("photo.png"), &data("photo_40x24.png"), &[]);

    let photo = data("photo.png");
    let output = folder.run(["encode", photo.to_str().unwrap(), "-o", "latents.npy"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("45x29 resized to 40x24, multiples of 8\n"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn the_file_format_does_not_matter() {
    let folder = Folder::new();
    assert_same(&folder, &data("photo.png"), &data("photo.webp"), &[]);
    // By content, not by name.
    let misnamed = folder.write("photo.jpg", &std::fs::read(data("photo.webp")).unwrap());
    assert_same(&folder, &data("photo.png"), &misnamed, &[]);
}

#[test]
fn alpha_is_dropped_and_palettes_are_looked_up() {
    let folder = Folder::new();
    assert_same(&folder, &data("photo.png"), &data("photo_rgba.png"), &[]);
    assert_same(&folder, &data("photo.png"), &data("photo_rgba.webp"), &[]);
    assert_same(&folder, &data("palette.png"), &data("palette_rgb.png"), &[]);
}

#[test]
fn exif_orientation_is_applied() {
    let folder = Folder::new();
    assert_different(&folder, &data("photo.png"), &data("photo_turned.png"));
    assert_same(&folder, &data("photo_turned_6.png"), &data("photo_turned.png"), &[]);
    assert_same(&folder, &data("photo_turned_6.webp"), &data("photo_turned.png"), &[]);
    let turned = image::open(data("photo.jpg")).unwrap().rotate90();
    let turned = save(&folder, "turned.png", &turned);
    assert_same(&folder, &data("photo_turned_6.jpg"), &turned, &[]);
}

#[test]
fn grey_pictures_and_grey_models() {
    let folder = Folder::new();
    assert_same(&folder, &data("grey.png"), &data("grey_rgb.png"), &[]);
    let model = data("grey_model");
    let grey = ["--model", model.to_str().unwrap()];
    // Pillow's luminance, and its resize to multiples of this model's factor of 2.
    assert_same(&folder, &data("photo.png"), &data("grey_44x28.png"), &grey);
    assert_same(&folder, &data("grey.png"), &data("grey_44x28.png"), &grey);

    let picture = data("photo.png");
    let arguments = ["reconstruct", picture.to_str().unwrap(), "-o", "out.png", "-q"];
    folder.succeed([&arguments[..], &grey].concat());
    let output = image::open(folder.path("out.png")).unwrap();
    assert_eq!(output.color(), image::ColorType::L8);
    assert_eq!((output.width(), output.height()), (44, 28));
}

#[test]
fn all_16_bits_count() {
    let folder = Folder::new();
    let eight = image::open(data("photo_40x24.png")).unwrap();
    // 257 * v / 65535 = v / 255.
    let mut sixteen = eight.to_rgb16();
    let wide = save(&folder, "wide.png", &DynamicImage::ImageRgb16(sixteen.clone()));
    assert_same(&folder, &data("photo_40x24.png"), &wide, &[]);
    sixteen.iter_mut().for_each(|sample| *sample ^= 0x0f);
    let low_bits = save(&folder, "low_bits.png", &DynamicImage::ImageRgb16(sixteen.clone()));
    assert_different(&folder, &wide, &low_bits);

    // As an array the same 16-bit numbers.
    let (width, height) = (40, 24);
    let values = (0..3 * width * height).map(|i| {
        let (c, pixel) = (i / (width * height), i % (width * height));
        2.0 * (f32::from(sixteen.as_raw()[pixel * 3 + c]) / 65535.0) - 1.0
    });
    let array = folder.write("array.npy", &npy(&[1, 3, height, width], values));
    assert_same(&folder, &low_bits, &array, &[]);
}

#[test]
fn arrays_are_not_resized() {
    let folder = Folder::new();
    let photo = image::open(data("photo.png")).unwrap().into_rgb8();
    let values = (0..3 * 29 * 45).map(|i| {
        let (c, y, x) = (i / (29 * 45), i / 45 % 29, i % 45);
        2.0 * (f32::from(photo.get_pixel(x as u32, y as u32)[c]) / 255.0) - 1.0
    });
    folder.write("array.npy", &npy(&[3, 29, 45], values));
    let report = folder.json(["reconstruct", "array.npy", "-o", "out.npy"]);
    assert_eq!((&report["width"], &report["height"]), (&40.into(), &24.into()));
    assert!(report["psnr_db"].as_f64().is_some_and(f64::is_finite), "{report}");
}
