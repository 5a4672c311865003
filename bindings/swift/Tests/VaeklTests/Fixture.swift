import Foundation
import Vaekl
import XCTest

/// The pictures that the command made, which all hosts compare with. See scripts/hosts/data.py.
enum Fixture {
    static let folder =
        ProcessInfo.processInfo.environment["VAEKL_TEST_DATA"] ?? "VAEKL_TEST_DATA is not set"
    static let modelPath = folder + "/model"
    static let weightsPath = modelPath + "/diffusion_pytorch_model.safetensors"

    static func bytes(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    static func floats(_ name: String) throws -> [Float] {
        try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")).withUnsafeBytes {
            Array($0.bindMemory(to: Float.self))
        }
    }

    static func model(_ options: Model.Options = Model.Options()) throws -> Model {
        try Model(path: modelPath, options: options)
    }

    static func session(_ options: Session.Options = Session.Options()) throws -> Session {
        try Session(model(), options: options)
    }

    /// What diffusers decodes.
    static func latents() throws -> Latents<Float> {
        Latents(channels: 4, height: 5, width: 7, values: try floats("latents.f32"))
    }

    /// What diffusers encodes.
    static func image() throws -> Picture<Float> {
        Picture(width: 56, height: 40, layout: .chw, pixels: try floats("image.f32"))
    }

    /// The command's bytes.
    static func picture() throws -> Picture<UInt8> {
        Picture(width: 56, height: 40, pixels: try bytes("\(folder)/picture.rgb"))
    }

    /// The command's values.
    static func decoded() throws -> Picture<Float> {
        Picture(width: 56, height: 40, layout: .chw, pixels: try floats("decoded.f32"))
    }
}

/// Bit for bit, so that a zero's sign and NaN count.
func assertSameBits(
    _ a: [Float], _ b: [Float], file: StaticString = #filePath, line: UInt = #line
) {
    XCTAssertEqual(a.count, b.count, file: file, line: line)
    let differ = zip(a, b).filter { $0.bitPattern != $1.bitPattern }.count
    XCTAssertEqual(differ, 0, "values differ", file: file, line: line)
}

func assertClose(
    _ a: [Float], _ b: [Float], within tolerance: Float, file: StaticString = #filePath,
    line: UInt = #line
) {
    XCTAssertEqual(a.count, b.count, file: file, line: line)
    let worst = zip(a, b).map { abs($0 - $1) }.max() ?? 0
    XCTAssertLessThanOrEqual(worst, tolerance, file: file, line: line)
}

/// That `body` throws a `VaeklError` with this status, whose message has these words.
func assertFails(
    _ status: Status, _ words: String..., file: StaticString = #filePath, line: UInt = #line,
    _ body: () throws -> Void
) {
    XCTAssertThrowsError(try body(), file: file, line: line) {
        assertIs($0, status, words, file: file, line: line)
    }
}

/// The same for a body that waits.
func assertFailsAsync(
    _ status: Status, _ words: String..., file: StaticString = #filePath, line: UInt = #line,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        XCTFail("no error", file: file, line: line)
    } catch {
        assertIs(error, status, words, file: file, line: line)
    }
}

private func assertIs(
    _ error: any Error, _ status: Status, _ words: [String], file: StaticString, line: UInt
) {
    guard let error = error as? VaeklError else {
        return XCTFail("\(error) is no VaeklError", file: file, line: line)
    }
    XCTAssertEqual(error.status, status, error.message, file: file, line: line)
    for word in words {
        XCTAssert(
            error.message.contains(word), "\"\(error.message)\" without \"\(word)\"", file: file,
            line: line)
    }
    XCTAssertEqual("\(error)", "\(status): \(error.message)", file: file, line: line)
    XCTAssertEqual(error.localizedDescription, "\(error)", file: file, line: line)
}

/// That `body` throws a `CancellationError`.
func assertCancelled(
    file: StaticString = #filePath, line: UInt = #line, _ body: () async throws -> Void
) async {
    do {
        try await body()
        XCTFail("not cancelled", file: file, line: line)
    } catch {
        XCTAssert(
            error is CancellationError, "\(error) is no CancellationError", file: file, line: line)
    }
}
