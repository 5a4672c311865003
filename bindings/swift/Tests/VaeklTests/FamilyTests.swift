import Vaekl
import XCTest

/// The autoencoders beside AutoencoderKL.
final class FamilyTests: XCTestCase {
    private func model(_ name: String) throws -> Model {
        try Model(path: "\(Fixture.folder)/\(name)")
    }

    private func planar(_ name: String, width: Int, height: Int) throws -> Picture<Float> {
        Picture(width: width, height: height, layout: .chw, pixels: try Fixture.floats(name))
    }

    func testFamiliesAreTold() throws {
        let expected: [(String, String, Bool, Bool, Int)] = [
            ("model", "AutoencoderKL", true, false, 1),
            ("tiny", "AutoencoderTiny", false, false, 1),
            ("flux2", "AutoencoderKLFlux2", true, false, 2),
            ("asymmetric", "AsymmetricAutoencoderKL", true, true, 1),
        ]
        for (name, family, hasPosterior, takesMasks, patchSize) in expected {
            let model = try model(name)
            XCTAssertEqual(model.family, family)
            XCTAssert(model.familySource.contains("config.json"), model.familySource)
            XCTAssertEqual(model.info.hasPosterior, hasPosterior, name)
            XCTAssertEqual(model.info.takesMasks, takesMasks, name)
            XCTAssertEqual(model.info.patchSize, patchSize, name)
        }
    }

    func testFamiliesAreTheCommands() throws {
        // Latents, the picture to encode, its latents. Odd sides of a tiny one are rounded up.
        let shapes: [(String, [Int], [Int], [Int])] = [
            ("tiny", [4, 7, 5], [37, 51], [10, 13]),
            ("flux2", [6, 6, 8], [32, 48], [4, 6]),
            ("asymmetric", [4, 5, 7], [40, 56], [5, 7]),
        ]
        for (name, shape, size, encoded) in shapes {
            let session = try Session(model(name))
            let latents = Latents(
                channels: shape[0], height: shape[1], width: shape[2],
                values: try Fixture.floats("\(name)/latents.f32"))
            let picture = try session.decode(latents, as: Float.self, layout: .chw)[0]
            assertSameBits(picture.pixels, try Fixture.floats("\(name)/decoded.f32"))
            let back = try session.encode([
                planar("\(name)/image.f32", width: size[1], height: size[0])
            ])
            XCTAssertEqual([back.channels, back.height, back.width], [shape[0]] + encoded)
            assertSameBits(back.values, try Fixture.floats("\(name)/encoded.f32"))
        }
    }

    func testLatentsWithoutAPosterior() throws {
        let session = try Session(model("tiny"))
        let image = try planar("tiny/image.f32", width: 51, height: 37)
        let sample = try session.encode([image], posterior: .sample(seed: 7))
        assertSameBits(sample.values, try Fixture.floats("tiny/encoded.f32"))
        assertFails(.invalidArgument, "no posterior") {
            _ = try session.encode([image], posterior: .moments)
        }
        let pixel = Picture<UInt8>(width: 1, height: 1, pixels: [1, 2, 3])
        XCTAssertEqual(try session.encode([pixel]).values.count, 4)
    }

    func testPatchesAreFoldedLatents() throws {
        let session = try Session(model("flux2"))
        let image = try planar("flux2/image.f32", width: 48, height: 32)
        let plain = try session.encode([image], scale: .scaled)
        let folded = try session.encode([image], scale: .scaled, folded: true)
        XCTAssertEqual([folded.channels, folded.height, folded.width], [24, 2, 3])
        let unfolded = (0..<144).map { (i: Int) -> Float in
            let (c, y, x) = (i / 24, i / 6 % 4, i % 6)
            let channel: Int = 4 * c + 2 * (y % 2) + x % 2
            let place: Int = y / 2 * 3 + x / 2
            return folded.values[channel * 6 + place]
        }
        assertSameBits(unfolded, plain.values)

        let picture = try session.decode(plain)[0]
        XCTAssertEqual(try session.decode(folded)[0], picture)
        XCTAssertEqual([picture.width, picture.height], [48, 32])
        let reader = try session.readRows(of: folded)
        var pixels: [UInt8] = []
        while let band = try reader.next() {
            pixels += band.pixels
        }
        XCTAssertEqual(pixels, picture.pixels)
        var raw = folded
        raw.scale = .raw
        assertFails(.invalidArgument, "6 expected, 24 found") { _ = try session.decode(raw) }
        assertFails(.invalidArgument, "6 expected, 24 found") {
            _ = try session.encode([image], folded: true)
        }
    }

    func testAMaskedDecodeKeepsThePicture() async throws {
        let session = try Session(model("asymmetric"))
        let latents = Latents(
            channels: 4, height: 5, width: 7,
            values: try Fixture.floats("asymmetric/latents.f32"))
        let picture = try planar("asymmetric/condition.f32", width: 56, height: 40)
        var mask = Picture(
            width: 56, height: 40, channels: 1, pixels: try Fixture.floats("asymmetric/mask.f32"))
        let drawn = try await session.decodeMasked(
            latents, picture: picture, mask: mask, as: Float.self, layout: .chw)
        assertClose(drawn.pixels, try Fixture.floats("asymmetric/masked.f32"), within: 1e-4)

        // Bytes are parts of 255.
        let bytes = Picture(
            width: 56, height: 40, channels: 1, pixels: mask.pixels.map { UInt8($0 * 255) })
        mask.pixels = bytes.pixels.map { Float($0) / 255 }
        let floats = mask
        try now {
            XCTAssertEqual(
                try session.decodeMasked(latents, picture: picture, mask: bytes),
                try session.decodeMasked(latents, picture: picture, mask: floats))
            assertFails(.invalidArgument, "mask: 56x40x1", "56x40x3") {
                let wrong = Picture(width: 56, height: 40, pixels: bytes.pixels)
                _ = try session.decodeMasked(latents, picture: picture, mask: wrong)
            }
            assertFails(.invalidArgument, "mask.pixels: 56x40x1", "0 found") {
                let empty = Picture<UInt8>(width: 56, height: 40, channels: 1, pixels: [])
                _ = try session.decodeMasked(latents, picture: picture, mask: empty)
            }
            assertFails(.invalidArgument, "mask: 56x40 (width x height) expected, 40x56") {
                let turned = Picture(width: 40, height: 56, channels: 1, pixels: bytes.pixels)
                _ = try session.decodeMasked(latents, picture: picture, mask: turned)
            }
            assertFails(.invalidArgument, "AsymmetricAutoencoderKL expected") {
                _ = try Fixture.session().decodeMasked(latents, picture: picture, mask: bytes)
            }
        }
    }

    /// Runs `body` outside of the task, where calls do not wait.
    private func now(_ body: () throws -> Void) throws {
        try body()
    }
}
