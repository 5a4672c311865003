internal import CVaekl

/// Kinds of errors that a program can tell apart. A later version may have more.
public struct Status: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number in vaekl.h.
    public let rawValue: Int32

    /// The status with that number.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// The name in vaekl.h, such as "VAEKL_ERR_IO".
    public var description: String { String(cString: vaekl_status_name(rawValue)) }

    /// A wrong size or shape, an unknown name, a non-finite value.
    public static let invalidArgument = Status(rawValue: VAEKL_ERR_INVALID_ARGUMENT)
    /// A file could not be opened, read, written or mapped.
    public static let io = Status(rawValue: VAEKL_ERR_IO)
    /// The file is not a checkpoint, or is corrupt.
    public static let format = Status(rawValue: VAEKL_ERR_FORMAT)
    /// The tensors or the configuration are not those of an autoencoder that is opened, or lack
    /// the requested half.
    public static let model = Status(rawValue: VAEKL_ERR_MODEL)
    /// Valid, but not supported by this build.
    public static let unsupported = Status(rawValue: VAEKL_ERR_UNSUPPORTED)
    /// Out of memory.
    public static let outOfMemory = Status(rawValue: VAEKL_ERR_OUT_OF_MEMORY)
    /// No plan fits the memory budget; the message names the least that would do.
    public static let budget = Status(rawValue: VAEKL_ERR_BUDGET)
    /// An accelerator failed.
    public static let device = Status(rawValue: VAEKL_ERR_DEVICE)
    /// The session is in use by another call or poisoned by a bug in the library, or an earlier
    /// read of the rows failed.
    public static let state = Status(rawValue: VAEKL_ERR_STATE)
    /// A bug in the library.
    public static let `internal` = Status(rawValue: VAEKL_ERR_INTERNAL)
    /// The computation gave NaN or infinity.
    public static let nonFinite = Status(rawValue: VAEKL_ERR_NON_FINITE)
}

/// An error of the library. A cancelled call throws `CancellationError` instead, whoever cancelled
/// it.
public struct VaeklError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of error.
    public let status: Status
    /// One line for a person, naming the file, tensor or argument.
    public let message: String
    /// The system's `errno` for `.io`, such as `ENOENT`; otherwise 0.
    public internal(set) var osError: Int32 = 0

    /// Status and message.
    public var description: String { message.isEmpty ? "\(status)" : "\(status): \(message)" }

    static func invalid(_ message: String) -> VaeklError {
        VaeklError(status: .invalidArgument, message: message)
    }
}

/// Calls the library and throws its errors.
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
