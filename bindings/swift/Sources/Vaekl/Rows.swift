internal import CVaekl

/// Rows of a picture, one below the other.
public struct RowBand<Pixel: PixelElement>: Hashable, Sendable {
    /// Index of the first row in the picture.
    public let y: Int
    /// Rows.
    public let count: Int
    /// Pixels of a row.
    public let width: Int
    /// Channels.
    public let channels: Int
    /// `count * width * channels` values, the channels of a pixel side by side.
    public let pixels: [Pixel]
}

/// The rows of a decode, top to bottom, each exactly once:
///
///     for try await band in session.rows(of: latents) { ... }
///
/// Nothing runs ahead of the loop: each band is computed on request, the first with most of the
/// decode. The session is in use from the first band until the loop ends, at the last band or
/// before. Every loop decodes anew.
public struct Rows<Pixel: PixelElement>: AsyncSequence, Sendable {
    public typealias Element = RowBand<Pixel>

    fileprivate let makeReader: @Sendable () -> RowReader<Pixel>

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(owner: Owner(reader: makeReader()))
    }

    /// Ends the decode with the loop: the queue may still hold the reader then, for a moment.
    fileprivate final class Owner {
        let reader: RowReader<Pixel>

        init(reader: RowReader<Pixel>) {
            self.reader = reader
        }

        deinit {
            reader.close()
        }
    }

    /// Reads the rows for one loop.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let owner: Owner

        /// The next band, or nil after the last.
        ///
        /// - Throws: as `Session.decode`; nil comes after.
        public mutating func next() async throws -> RowBand<Pixel>? {
            // Unsafe for the compiler only: this is the reader's one iterator, and it waits for the
            // band.
            nonisolated(unsafe) let reader = owner.reader
            return try await reader.session.onQueue(for: reader.call) { try reader.next() }
        }
    }
}

/// The rows of a decode for programs without tasks:
///
///     let reader = try session.readRows(of: latents)
///     while let band = try reader.next() { ... }
///
/// The session is in use until the last band is read, `close()` is called, or the reader is gone.
/// One thread at a time may use a reader.
public final class RowReader<Pixel: PixelElement> {
    /// The largest number of rows to read at a time.
    private let maxRows: Int
    private let width: Int
    private let height: Int
    private let channels: Int
    fileprivate let session: Session
    fileprivate let call = Call()
    private var state: State

    private enum State {
        case new(open: (_ stream: inout OpaquePointer?) throws -> Void)
        case open(OpaquePointer, y: Int)
        case closed
    }

    fileprivate init<Value>(_ session: Session, _ latents: Latents<Value>, maxRows: Int) {
        let info = session.model.info
        self.session = session
        self.maxRows = maxRows
        let factor = info.factor(of: latents)
        width = latents.width.multipliedReportingOverflow(by: factor).partialValue
        height = latents.height.multipliedReportingOverflow(by: factor).partialValue
        channels = info.imageChannels
        state = .new { stream in
            try latents.withView { latent in
                _ = try check {
                    vaekl_stream_open(session.handle, latent, Pixel.dtype.c, &stream, $0)
                }
            }
        }
    }

    deinit {
        close()
    }

    /// The next band, or nil after the last and after `close()`.
    ///
    /// - Throws: as `Session.decode`; nil comes after.
    public func next() throws -> RowBand<Pixel>? {
        try open()
        guard case .open(let stream, let y) = state else { return nil }
        state = .closed // what a progress closure finds that asks meanwhile
        let band: RowBand<Pixel>
        do {
            band = try call.run { try read(stream, y) }
        } catch {
            end(stream)
            throw error
        }
        if y + band.count < height {
            state = .open(stream, y: y + band.count)
        } else {
            end(stream)
        }
        return band
    }

    /// Releases the session for other calls, at the end or before.
    public func close() {
        if case .open(let stream, _) = state {
            end(stream)
        }
        state = .closed
    }

    private func end(_ stream: OpaquePointer) {
        vaekl_stream_free(stream)
        session.turns.leave()
    }

    /// Decodes, if that was not done yet.
    fileprivate func open() throws {
        guard case .new(let open) = state else { return }
        state = .closed
        if maxRows < 1 {
            throw VaeklError.invalid("maxRows: 1 or more expected, \(maxRows) found")
        }
        try session.turns.enter(call)
        do {
            var stream: OpaquePointer?
            try call.run { try open(&stream) }
            guard let stream else {
                throw VaeklError(status: .internal, message: "no stream was opened")
            }
            state = .open(stream, y: 0)
        } catch {
            session.turns.leave()
            throw error
        }
    }

    private func read(_ stream: OpaquePointer, _ y: Int) throws -> RowBand<Pixel> {
        let rows = min(maxRows, height - y)
        var count: UInt32 = 0
        let pixels = try [Pixel](unsafeUninitializedCapacity: rows * width * channels) {
            pixels, initialized in
            _ = try check {
                vaekl_stream_read(stream, pixels.baseAddress, 0, UInt32(rows), &count, $0)
            }
            initialized = Int(count) * width * channels
        }
        return RowBand(y: y, count: Int(count), width: width, channels: channels, pixels: pixels)
    }
}

extension Session {
    /// The rows of a decode of one latent, `maxRows` at a time. Wrong latents throw when the first
    /// band is asked for.
    public func rows<Value, Pixel>(
        of latents: Latents<Value>, as pixel: Pixel.Type = UInt8.self, maxRows: Int = 16
    ) -> Rows<Pixel> {
        Rows { RowReader(self, latents, maxRows: maxRows) }
    }

    /// Decodes one latent, whose rows are then read, `maxRows` at a time, for programs without
    /// tasks.
    ///
    /// - Throws: as `decode`.
    public func readRows<Value, Pixel>(
        of latents: Latents<Value>, as pixel: Pixel.Type = UInt8.self, maxRows: Int = 16
    ) throws -> RowReader<Pixel> {
        let reader = RowReader<Pixel>(self, latents, maxRows: maxRows)
        try reader.open()
        return reader
    }
}
