internal import CVaekl

/// Why the library refused or gave up, as far as a program can act on it. A later version may have
/// more.
public struct Status: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number in vaekl.h.
    public let rawValue: Int32

    /// The status of that number.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// The name in vaekl.h, as "VAEKL_ERR_IO".
    public var description: String { String(cString: vaekl_status_name(rawValue)) }

    /// A wrong size or shape, an unknown name, a non-finite value.
    public static let invalidArgument = Status(rawValue: VAEKL_ERR_INVALID_ARGUMENT)
    /// Opening, reading or mapping a file failed.
    public static let io = Status(rawValue: VAEKL_ERR_IO)
    /// Not a checkpoint, or corrupt.
    public static let format = Status(rawValue: VAEKL_ERR_FORMAT)
    /// Tensors or configuration do not make an AutoencoderKL, or lack the half that was asked for.
    public static let model = Status(rawValue: VAEKL_ERR_MODEL)
    /// Valid, but not in this build.
    public static let unsupported = Status(rawValue: VAEKL_ERR_UNSUPPORTED)
    /// Memory could not be had.
    public static let outOfMemory = Status(rawValue: VAEKL_ERR_OUT_OF_MEMORY)
    /// No plan fits the memory budget; the message has the least that would.
    public static let budget = Status(rawValue: VAEKL_ERR_BUDGET)
    /// An accelerator failed.
    public static let device = Status(rawValue: VAEKL_ERR_DEVICE)
    /// The session is in use by another call, or spoilt by a bug of the library; or the rows have
    /// failed before.
    public static let state = Status(rawValue: VAEKL_ERR_STATE)
    /// A bug of the library.
    public static let `internal` = Status(rawValue: VAEKL_ERR_INTERNAL)
    /// The arithmetic gave NaN or infinity.
    public static let nonFinite = Status(rawValue: VAEKL_ERR_NON_FINITE)
}

/// An error of the library. A call that was stopped throws `CancellationError`
/// instead, whoever stopped it.
public struct VaeklError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What a program can act on.
    public let status: Status
    /// One line for a person, naming the file, tensor or argument.
    public let message: String
    /// Of `.io` the system's number, `errno`, as `ENOENT`; 0 where there is none.
    public internal(set) var osError: Int32 = 0

    /// Status and message.
    public var description: String { message.isEmpty ? "\(status)" : "\(status): \(message)" }

    static func invalid(_ message: String) -> VaeklError {
        VaeklError(status: .invalidArgument, message: message)
    }
}

/// Calls the library, and throws what it reports.
///
/// - Returns: `VAEKL_OK` or `VAEKL_END`.
@discardableResult
func check(
    _ call: (UnsafeMutablePointer<vaekl_error>) throws -> vaekl_status
) throws -> vaekl_status {
    var error = vaekl_error()
    let status = try call(&error)
    if status == VAEKL_ERR_CANCELLED {
        throw CancellationError()
    }
    if status < 0 {
        let message = withUnsafeBytes(of: error.message) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        throw VaeklError(
            status: Status(rawValue: status), message: message, osError: error.os_error)
    }
    return status
}
