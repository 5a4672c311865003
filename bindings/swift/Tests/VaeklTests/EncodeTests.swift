import Vaekl
import XCTest

final class EncodeTests: XCTestCase {
    func testModeIsTheCommands() throws {
        let latents = try Fixture.session().encode([Fixture.image()])
        XCTAssertEqual(
            [latents.batch, latents.channels, latents.height, latents.width], [1, 4, 5, 7])
        assertSameBits(latents.values, try Fixture.floats("mode.f32"))
    }

    func testSampleIsTheCommands() async throws {
        let latents = try await Fixture.session().encode(
            [Fixture.image()], posterior: .sample(seed: 7))
        assertSameBits(latents.values, try Fixture.floats("sample.f32"))
    }

    func testMomentsBeginWithTheMean() throws {
        let session = try Fixture.session()
        let moments = try session.encode([Fixture.image()], posterior: .moments)
        XCTAssertEqual(moments.channels, 8)
        assertSameBits(Array(moments.values.prefix(4 * 5 * 7)), try Fixture.floats("mode.f32"))
        assertFails(.invalidArgument, "RAW") {
            _ = try session.encode([Fixture.image()], posterior: .moments, scale: .scaled)
        }
    }

    func testScaledLatentsAreScaled() throws {
        let session = try Fixture.session()
        let latents = try session.encode([Fixture.image()], scale: .scaled)
        let factor = session.model.info.scalingFactor
        XCTAssertEqual(latents.scale, .scaled)
        assertClose(
            latents.values, try Fixture.floats("mode.f32").map { $0 * factor }, within: 1e-5)
        // The decode takes them as they say they are.
        let pictures = try session.decode(latents)
        let raw = Latents(channels: 4, height: 5, width: 7, values: try Fixture.floats("mode.f32"))
        let differences = zip(pictures[0].pixels, try session.decode(raw)[0].pixels).map {
            abs(Int($0) - Int($1))
        }
        XCTAssertLessThanOrEqual(differences.max()!, 1)
    }

    func testBatchAndLayouts() throws {
        let session = try Fixture.session()
        let planar = try Fixture.image()
        let area = planar.width * planar.height
        let hwc = (0..<3 * area).map { planar.pixels[$0 % 3 * area + $0 / 3] }
        let interleaved = Picture(width: 56, height: 40, pixels: hwc)
        let mode = try Fixture.floats("mode.f32")
        assertSameBits(try session.encode([interleaved]).values, mode)
        let batch = try session.encode([planar, planar])
        XCTAssertEqual(batch.batch, 2)
        assertSameBits(batch.values, mode + mode)
        assertFails(.invalidArgument, "pictures[1]", "chw", "hwc") {
            _ = try session.encode([planar, interleaved])
        }
    }

    func testBytesAndHalves() throws {
        let session = try Fixture.session()
        let bytes = try Fixture.picture()
        let floats = Picture(
            width: 56, height: 40, pixels: bytes.pixels.map { Float($0) / 127.5 - 1 })
        assertClose(
            try session.encode([bytes]).values, try session.encode([floats]).values, within: 1e-4)
        let mode = try Fixture.floats("mode.f32")
        let halves = try session.encode([Fixture.image()], as: Float16.self)
        XCTAssertEqual(halves.values, mode.map { Float16($0) })
        let brains = try session.encode([Fixture.image()], as: BFloat16.self)
        XCTAssertEqual(brains.values, mode.map { BFloat16($0) })
    }

    func testAnOddEdgeIsDropped() throws {
        let picture = Picture(
            width: 23, height: 17, pixels: [UInt8](repeating: 100, count: 23 * 17 * 3))
        let latents = try Fixture.session().encode([picture])
        XCTAssertEqual([latents.width, latents.height], [2, 2])
    }
}
