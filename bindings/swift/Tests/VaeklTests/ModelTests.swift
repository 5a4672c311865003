import Vaekl
import XCTest

final class ModelTests: XCTestCase {
    func testInfo() throws {
        let info = try Fixture.model().info
        XCTAssertEqual(
            [info.imageChannels, info.inputChannels, info.latentChannels, info.downscale],
            [3, 3, 4, 8])
        XCTAssertEqual(info.parts, [.decoder, .encoder])
        XCTAssertEqual(info.scalingFactor, 0.18215)
        XCTAssertEqual(info.shiftFactor, 0)
        XCTAssertEqual(info.weightBytes, 4 * info.parameters)
        XCTAssertEqual(info.guessed, 0)
    }

    func testLibrary() {
        let (major, minor, patch) = Library.versionNumbers
        XCTAssertEqual(Library.version, "\(major).\(minor).\(patch)")
        XCTAssert(["avx512", "avx2", "portable"].contains(Library.cpuLevel))
    }

    func testOpensBytes() throws {
        let bytes = try Fixture.bytes(Fixture.weightsPath)
        let options = Model.Options(preset: "sd", normNumGroups: 4)
        let session = try Session(Model(bytes: bytes, options: options))
        XCTAssertEqual(try session.decode(Fixture.latents()), [try Fixture.picture()])
        let info = session.model.info
        XCTAssertGreaterThan(info.guessed, 0)
        XCTAssertEqual(session.model.notices.count, info.guessed)
        XCTAssert(session.model.notices[0].hasPrefix("guessed "))
        assertFails(.format) { _ = try Model(bytes: []) }
    }

    func testBorrowsBytesUntilTheLastSessionIsGone() throws {
        let bytes = try Fixture.bytes(Fixture.weightsPath)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
        nonisolated(unsafe) let owned = memory
        let calls = Shared(0)
        let deallocator: @Sendable () -> Void = {
            owned.deallocate()
            calls.set { $0 += 1 }
        }
        let options = Model.Options(preset: "sd", normNumGroups: 4)
        var model: Model? = try Model(
            bytesNoCopy: UnsafeRawBufferPointer(memory), options: options, deallocator: deallocator)
        var session: Session? = try Session(model!)
        model = nil
        XCTAssertEqual(try session?.decode(Fixture.latents()), [try Fixture.picture()])
        XCTAssertEqual(calls.value, 0)
        session = nil
        XCTAssertEqual(calls.value, 1)
        XCTAssertNil(model)
    }

    func testBytesThatDoNotOpenAreGivenBack() {
        let calls = Shared(0)
        assertFails(.invalidArgument, "bytes") {
            _ = try Model(bytesNoCopy: UnsafeRawBufferPointer(start: nil, count: 0)) {
                calls.set { $0 += 1 }
            }
        }
        XCTAssertEqual(calls.value, 1)
    }

    func testOptionsReachTheLibrary() throws {
        let config = Model.Options(configPath: Fixture.modelPath + "/config.json")
        let session = try Session(Model(path: Fixture.weightsPath, options: config))
        XCTAssertEqual(try session.decode(Fixture.latents()), [try Fixture.picture()])
        XCTAssertEqual(session.model.info.guessed, 0)

        let sdxl = try Fixture.model(Model.Options(preset: "sdxl")).info
        XCTAssertEqual(sdxl.scalingFactor, 0.13025)
        assertFails(.invalidArgument, "16 latent channels") {
            _ = try Fixture.model(Model.Options(preset: "flux"))
        }
        assertFails(.io, "fp16") { _ = try Fixture.model(Model.Options(variant: "fp16")) }
        assertFails(.io, "none.json") {
            _ = try Fixture.model(Model.Options(configPath: "none.json"))
        }
        XCTAssertFalse(try Fixture.model(Model.Options(disableMmap: true)).info.mapped)
        _ = try Fixture.model(Model.Options(parts: .decoder))
    }
}

final class OptionsTests: XCTestCase {
    /// The bytes of a decode with these options.
    private func decode(_ options: Session.Options) throws -> [Float] {
        try Fixture.session(options)
            .decode(Fixture.latents(), as: Float.self, layout: .chw)[0].pixels
    }

    func testBudgetThreadsAndScratchKeepTheBits() throws {
        let model = try Fixture.model()
        let plain = try model.planDecode(latentWidth: 7, latentHeight: 5)
        let scratch = URL(fileURLWithPath: NSTemporaryDirectory())
            .appendingPathComponent("vaekl-\(UUID())").path
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: scratch) }
        let exact = try Fixture.decoded().pixels
        for options in [
            Session.Options(threads: 1), Session.Options(threads: 3),
            Session.Options(scratchDirectory: scratch),
            Session.Options(memoryBudget: Int(plain.peakBytes)),
        ] {
            assertSameBits(try decode(options), exact)
        }
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: scratch), [])
    }

    func testOtherWaysAreClose() throws {
        let exact = try Fixture.decoded().pixels
        for options in [Session.Options(attention: .rowByRow), Session.Options(fuseQKV: true)] {
            assertClose(try decode(options), exact, within: 1e-4)
        }
        let brains = try decode(Session.Options(activationDType: .bfloat16))
        XCTAssertNotEqual(brains, exact)
        assertClose(brains, exact, within: 0.1)
    }

    func testTiles() throws {
        let exact = try Fixture.decoded().pixels
        let model = try Fixture.model()
        let diffusers = Session.Options(tiling: .diffusers(tileSize: 4, tileOverlap: 1))
        let plan = try model.planDecode(latentWidth: 7, latentHeight: 5, options: diffusers)
        XCTAssertEqual([plan.tileSize, plan.tilesX > 1 ? 2 : 1], [4, 2])
        XCTAssertFalse(plan.isExact)
        XCTAssertNotEqual(try decode(diffusers), exact)
        let seamless = Session.Options(tiling: .seamless(tileSize: 4))
        XCTAssertGreaterThan(
            try model.planDecode(latentWidth: 7, latentHeight: 5, options: seamless).tilesX, 1)
        assertClose(try decode(seamless), exact, within: 0.01)
    }

    func testPlans() throws {
        let model = try Fixture.model()
        let decode = try model.planDecode(latentWidth: 7, latentHeight: 5)
        XCTAssert(decode.isExact)
        XCTAssertEqual([decode.tilesX, decode.tilesY, decode.tileSize], [1, 1, 0])
        XCTAssertEqual(decode.scratchBytes, 0)
        XCTAssertGreaterThan(decode.peakBytes, decode.workspaceBytes)
        let session = try Session(model)
        _ = try session.decode(Fixture.latents())
        XCTAssertLessThanOrEqual(session.memory, decode.workspaceBytes)
        XCTAssertGreaterThan(try model.planEncode(width: 56, height: 40).workspaceBytes, 0)
    }
}
