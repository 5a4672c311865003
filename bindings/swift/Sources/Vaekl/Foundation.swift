#if canImport(Foundation)
import Foundation

extension Model {
    /// Opens the checkpoint at a file URL, such as one in the app's bundle.
    ///
    /// - Throws: as `init(path:options:)`.
    public convenience init(contentsOf url: URL, options: Options = Options()) throws {
        guard url.isFileURL else { throw VaeklError.invalid("url: a file expected, \(url) found") }
        try self.init(path: url.path, options: options)
    }
}

extension VaeklError: LocalizedError {
    public var errorDescription: String? { description }
}
#endif
