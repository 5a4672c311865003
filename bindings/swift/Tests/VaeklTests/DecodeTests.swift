import Vaekl
import XCTest

final class DecodeTests: XCTestCase {
    func testBytesAreTheCommands() throws {
        XCTAssertEqual(try Fixture.session().decode(Fixture.latents()), [try Fixture.picture()])
    }

    func testBytesAreTheCommandsInATask() async throws {
        let pictures = try await Fixture.session().decode(Fixture.latents())
        XCTAssertEqual(pictures, [try Fixture.picture()])
    }

    func testFloatsAreTheCommands() throws {
        let pictures = try Fixture.session().decode(Fixture.latents(), as: Float.self, layout: .chw)
        assertSameBits(pictures[0].pixels, try Fixture.floats("decoded.f32"))
        XCTAssertEqual(pictures[0].layout, .chw)
    }

    func testLayoutsHoldTheSameValues() throws {
        let picture = try Fixture.session().decode(Fixture.latents(), as: Float.self)[0]
        let planar = try Fixture.decoded().pixels
        let area = picture.width * picture.height
        assertSameBits((0..<3 * area).map { picture.pixels[$0 % area * 3 + $0 / area] }, planar)
    }

    func testHalvesAreRoundedFloats() throws {
        let session = try Fixture.session()
        let exact = try Fixture.decoded().pixels
        let brains = try session.decode(Fixture.latents(), as: BFloat16.self, layout: .chw)[0]
        XCTAssertEqual(brains.pixels, exact.map { BFloat16($0) })
        let halves = try session.decode(Fixture.latents(), as: Float16.self, layout: .chw)[0]
        XCTAssertEqual(halves.pixels, exact.map { Float16($0) })
    }

    func testHalfLatentsAreTheirFloats() throws {
        let session = try Fixture.session()
        let latents = try Fixture.latents()
        func of<Value: LatentElement>(_ values: [Value]) -> Latents<Value> {
            Latents(channels: 4, height: 5, width: 7, values: values)
        }
        let brains = latents.values.map { BFloat16($0) }
        XCTAssertEqual(try session.decode(of(brains)), try session.decode(of(brains.map(\.float))))
        let halves = latents.values.map { Float16($0) }
        XCTAssertEqual(
            try session.decode(of(halves)), try session.decode(of(halves.map { Float($0) })))
    }

    func testBatchIsOnePictureAfterTheOther() throws {
        let session = try Fixture.session()
        let one = try Fixture.latents()
        let other = one.values.map { -$0 }
        let batch = Latents(batch: 2, channels: 4, height: 5, width: 7, values: one.values + other)
        let pictures = try session.decode(batch)
        let second = try session.decode(Latents(channels: 4, height: 5, width: 7, values: other))
        XCTAssert(try pictures == [Fixture.picture()] + second)
        XCTAssertNotEqual(pictures[0], pictures[1])
    }

    func testScaledLatentsAreUnscaled() throws {
        let session = try Fixture.session()
        var latents = try Fixture.latents()
        latents.values = latents.values.map { $0 * session.model.info.scalingFactor }
        latents.scale = .scaled
        let picture = try session.decode(latents, as: Float.self, layout: .chw)[0]
        assertClose(picture.pixels, try Fixture.decoded().pixels, within: 1e-4)
    }

    func testMemoryIsHeldBetweenCalls() throws {
        let session = try Fixture.session()
        XCTAssertEqual(session.memory, 0)
        _ = try session.decode(Fixture.latents())
        XCTAssertGreaterThan(session.memory, 0)
    }

    func testProgressReachesItsEnd() throws {
        let reports = Shared<[Session.Progress]>([])
        let onProgress: Session.OnProgress = { progress in reports.set { $0.append(progress) } }
        let session = try Fixture.session(Session.Options(onProgress: onProgress))
        _ = try session.decode(Fixture.latents())
        let seen = reports.value
        XCTAssertGreaterThan(seen.count, 10)
        XCTAssert(zip(seen, seen.dropFirst()).allSatisfy { $0.done <= $1.done })
        XCTAssert(seen.allSatisfy { (0...1).contains($0.fraction) })
    }
}

final class RowsTests: XCTestCase {
    func testRowsTogetherAreThePicture() async throws {
        for maxRows in [1, 16, 40, 1000] {
            var pixels: [UInt8] = []
            for try await band in try Fixture.session().rows(
                of: Fixture.latents(), maxRows: maxRows
            ) {
                XCTAssertEqual([band.width, band.channels], [56, 3])
                XCTAssertEqual(band.y * 56 * 3, pixels.count)
                XCTAssert(1...maxRows ~= band.count)
                pixels += band.pixels
            }
            XCTAssertEqual(pixels, try Fixture.picture().pixels)
        }
    }

    func testFloatRowsTogetherAreThePicture() async throws {
        let session = try Fixture.session()
        let picture = try await session.decode(Fixture.latents(), as: Float.self)[0]
        var pixels: [Float] = []
        for try await band in session.rows(of: try Fixture.latents(), as: Float.self) {
            pixels += band.pixels
        }
        assertSameBits(pixels, picture.pixels)
    }

    func testALoopLeftEarlyLeavesTheSession() async throws {
        let session = try Fixture.session()
        let rows = session.rows(of: try Fixture.latents(), maxRows: 8)
        for try await band in rows {
            XCTAssertEqual(band.y, 0)
            await assertFailsAsync(.state, "in use") {
                _ = try await session.decode(Fixture.latents())
            }
            break
        }
        let pictures = try await session.decode(Fixture.latents())
        XCTAssertEqual(pictures, [try Fixture.picture()])
        // Another loop decodes anew.
        var count = 0
        for try await band in rows {
            count += band.count
        }
        XCTAssertEqual(count, 40)
    }

    func testTheLastBandLeavesTheSession() async throws {
        let session = try Fixture.session()
        var iterator = session.rows(of: try Fixture.latents(), maxRows: 40).makeAsyncIterator()
        let band = try await iterator.next()
        XCTAssertEqual(band?.pixels, try Fixture.picture().pixels)
        _ = try await session.decode(Fixture.latents())
        let end = try await iterator.next()
        XCTAssertNil(end)
    }

    func testRowsWithoutTasks() throws {
        let session = try Fixture.session()
        let reader = try session.readRows(of: Fixture.latents())
        var pixels: [UInt8] = []
        while let band = try reader.next() {
            pixels += band.pixels
        }
        XCTAssertEqual(pixels, try Fixture.picture().pixels)
        XCTAssertNil(try reader.next())
    }

    func testAClosedReaderLeavesTheSession() throws {
        let session = try Fixture.session()
        let reader = try session.readRows(of: Fixture.latents(), maxRows: 8)
        XCTAssertEqual(try reader.next()?.count, 8)
        assertFails(.state, "in use") { _ = try session.decode(Fixture.latents()) }
        reader.close()
        reader.close()
        XCTAssertNil(try reader.next())
        // One that nobody closed is closed with its last reference.
        XCTAssertEqual(try session.readRows(of: Fixture.latents(), maxRows: 8).next()?.y, 0)
        XCTAssertEqual(try session.decode(Fixture.latents()), [try Fixture.picture()])
    }

    func testWrongRowsAreRefused() async throws {
        let session = try Fixture.session()
        let latents = try Fixture.latents()
        assertFails(.invalidArgument, "maxRows", "-1") {
            _ = try session.readRows(of: latents, maxRows: -1)
        }
        var two = latents
        two.batch = 2
        two.values += latents.values
        let batch = two
        assertFails(.invalidArgument, "batch") { _ = try session.readRows(of: batch) }
        await assertFailsAsync(.invalidArgument, "batch") {
            for try await _ in session.rows(of: batch) {}
        }
        XCTAssertEqual(try session.readRows(of: latents).next()?.count, 16)
    }
}
