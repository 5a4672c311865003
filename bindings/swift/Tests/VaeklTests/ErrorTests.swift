import Vaekl
import XCTest

final class ErrorTests: XCTestCase {
    func testMissingFile() {
        assertFails(.io, "no/such/model") { _ = try Model(path: "no/such/model") }
        assertFails(.io, "no/such/model") {
            _ = try Model(contentsOf: URL(fileURLWithPath: "/no/such/model"))
        }
        assertFails(.invalidArgument, "https") {
            _ = try Model(contentsOf: URL(string: "https://example.org/vae")!)
        }
    }

    func testTheSystemsNumber() {
        XCTAssertThrowsError(try Model(path: "no/such/model")) {
            XCTAssertEqual(($0 as? VaeklError)?.osError, ENOENT)
        }
        XCTAssertThrowsError(try Model(path: Fixture.folder + "/corrupt")) {
            XCTAssertEqual(($0 as? VaeklError)?.osError, 0)
        }
    }

    func testCorruptFile() {
        assertFails(.format, "diffusion_pytorch_model.safetensors") {
            _ = try Model(path: Fixture.folder + "/corrupt")
        }
    }

    func testTooSmallBudget() throws {
        let options = Session.Options(memoryBudget: 1 << 20)
        let model = try Fixture.model()
        let session = try Session(model, options: options)
        assertFails(.budget, "memory budget of 1 MiB") { _ = try session.decode(Fixture.latents()) }
        assertFails(.budget, "memory budget of 1 MiB") {
            _ = try model.planDecode(latentWidth: 7, latentHeight: 5, options: options)
        }
    }

    func testWrongLatents() throws {
        let session = try Fixture.session()
        func decode(_ change: (inout Latents<Float>) -> Void) throws {
            var latents = try Fixture.latents()
            change(&latents)
            _ = try session.decode(latents)
        }
        assertFails(.invalidArgument, "latents.values", "140 expected, 139 found") {
            try decode { $0.values.removeLast() }
        }
        assertFails(.invalidArgument, "latent.channels", "4 expected, 2 found") {
            try decode { ($0.channels, $0.batch) = (2, 2) }
        }
        for width in [0, -7, Int.max, Int.min] {
            assertFails(.invalidArgument, "latents", "\(width)") { try decode { $0.width = width } }
        }
        assertFails(.invalidArgument, "latents", "address space") {
            try decode { ($0.batch, $0.channels, $0.height) = (1 << 31, 1 << 31, 1 << 31) }
        }
        assertFails(.invalidArgument, "latent", "NaN") { try decode { $0.values[3] = .nan } }
        XCTAssertEqual(try session.decode(Fixture.latents()), [try Fixture.picture()])
    }

    func testWrongPictures() throws {
        let session = try Fixture.session()
        func encode(_ change: (inout Picture<Float>) -> Void) throws {
            var picture = try Fixture.image()
            change(&picture)
            _ = try session.encode([picture])
        }
        assertFails(.invalidArgument, "pictures") { _ = try session.encode([Picture<Float>]()) }
        assertFails(.invalidArgument, "pictures[0].pixels", "6720 expected, 6719 found") {
            try encode { $0.pixels.removeLast() }
        }
        assertFails(.invalidArgument, "pictures[0]", "56x40x3", "56x40x1") {
            try encode { $0.channels = 1 }
        }
        assertFails(.invalidArgument, "7x40") {
            try encode { ($0.width, $0.pixels) = (7, Array(repeating: 0, count: 7 * 40 * 3)) }
        }
        for height in [0, -1, Int.max] {
            assertFails(.invalidArgument, "pictures", "\(height)") {
                try encode { $0.height = height }
            }
        }
        assertFails(.invalidArgument, "inf") { try encode { $0.pixels[5] = .infinity } }
    }

    func testWrongOptions() throws {
        let model = try Fixture.model()
        func session(_ change: (inout Session.Options) -> Void) throws {
            var options = Session.Options()
            change(&options)
            _ = try Session(model, options: options)
        }
        assertFails(.invalidArgument, "memoryBudget", "-1") { try session { $0.memoryBudget = -1 } }
        assertFails(.invalidArgument, "threads", "-1") { try session { $0.threads = -1 } }
        assertFails(.invalidArgument, "activation_dtype") {
            try session { $0.activationDType = .uint8 }
        }
        assertFails(.invalidArgument, "tileSize", "-4") {
            try session { $0.tiling = .seamless(tileSize: -4) }
        }
        assertFails(.invalidArgument, "scratchDirectory", "NUL") {
            try session { $0.scratchDirectory = "a\0b" }
        }
        assertFails(.invalidArgument, "path", "NUL") { _ = try Model(path: "a\0b") }
        assertFails(.invalidArgument, "preset", "unheard") {
            _ = try Fixture.model(.init(preset: "unheard"))
        }
        assertFails(.unsupported, "CUDA") { _ = try Fixture.model(.init(device: .cuda())) }
        assertFails(.invalidArgument, "latentWidth", "-1") {
            _ = try model.planDecode(latentWidth: -1, latentHeight: 4)
        }
    }

    func testStatusHasAName() {
        XCTAssertEqual("\(Status.io)", "VAEKL_ERR_IO")
        XCTAssertEqual(Status(rawValue: Status.budget.rawValue), .budget)
        XCTAssertFalse("\(Status(rawValue: -99))".isEmpty)
    }
}
