import Dispatch
internal import CVaekl

/// Runs a model, one call at a time; owns threads and workspace, which later calls reuse.
///
/// `decode` and `encode` exist twice. With `await` the work runs on the session's own queue, never
/// on the threads that Swift's tasks share; calls wait for each other there, and cancelling the
/// task cancels its call. Without `await`, outside of tasks, the calling thread does the work.
///
/// A session does one call at a time: while another thread's call runs, or rows are not read to
/// their end, a call throws `VaeklError` with status `.state`.
public final class Session: Sendable {
    /// The model.
    public let model: Model
    // Unsafe for the compiler only: `turns` lets one call at a time use it, which is what the
    // library asks for.
    nonisolated(unsafe) let handle: OpaquePointer
    let turns: Turns
    private let queue = DispatchQueue(label: "vaekl.session")

    /// Makes a session.
    ///
    /// - Throws: `VaeklError`: `.invalidArgument` for an option out of range, `.outOfMemory`
    ///   without the threads.
    public init(_ model: Model, options: Options = Options()) throws {
        let turns = Turns(onProgress: options.onProgress)
        var session: OpaquePointer?
        try options.withC { options in
            options.pointee.progress = { turns, done, total in
                Unmanaged<Turns>.fromOpaque(turns!).takeUnretainedValue().report(
                    done: done, total: total)
            }
            // Not retained: the session holds it until after it has freed the library's.
            options.pointee.progress_user = Unmanaged.passUnretained(turns).toOpaque()
            _ = try check { vaekl_session_new(model.handle, options, &session, $0) }
        }
        guard let session else {
            throw VaeklError(status: .internal, message: "no session was made")
        }
        self.model = model
        self.turns = turns
        handle = session
    }

    deinit {
        // No call is under way: it would hold the session.
        vaekl_session_free(handle)
    }

    /// Makes the current call throw `CancellationError` within a fraction of a second; rows being
    /// read throw it with their next band. Callable from any thread. Waiting and later calls are
    /// not affected.
    public func cancel() {
        turns.stopCurrent()
    }

    /// Workspace in bytes that the session holds since its last call ended. Callable from any
    /// thread.
    public var memory: UInt64 { vaekl_session_memory(handle) }
}

// MARK: - Decode and encode

extension Session {
    /// Decodes a batch: one picture per latent, each `downscale` times the latent's width and
    /// height.
    ///
    /// - Throws: `VaeklError`: `.invalidArgument` for a wrong shape or a non-finite latent,
    ///   `.budget`, and others; `CancellationError` when `cancel()` stopped it.
    public func decode<Value, Pixel>(
        _ latents: Latents<Value>, as pixel: Pixel.Type = UInt8.self, layout: PixelLayout = .hwc
    ) throws -> [Picture<Pixel>] {
        try now { try decodeNow(latents, layout) }
    }

    /// Decodes a batch: one picture per latent, each `downscale` times the latent's width and
    /// height.
    ///
    /// - Throws: `VaeklError`: `.invalidArgument` for a wrong shape or a non-finite
    ///   latent, `.budget`, and others; `CancellationError` when the task was cancelled
    ///   or `cancel()` stopped it.
    public func decode<Value, Pixel>(
        _ latents: Latents<Value>, as pixel: Pixel.Type = UInt8.self, layout: PixelLayout = .hwc
    ) async throws -> [Picture<Pixel>] {
        try await queued { try self.decodeNow(latents, layout) }
    }

    /// Decodes one latent, and keeps `picture` where `mask` is 0; only for a model whose
    /// `info.takesMasks` is true, without tiles. Both have the size of the result. A mask has one
    /// channel: 1 where the model draws, 0 where it keeps, or any value between; in bytes, 255 is
    /// 1.
    ///
    /// - Throws: as `decode`.
    public func decodeMasked<Value, Kept, Mask, Pixel>(
        _ latents: Latents<Value>, picture: Picture<Kept>, mask: Picture<Mask>,
        as pixel: Pixel.Type = UInt8.self, layout: PixelLayout = .hwc
    ) throws -> Picture<Pixel> {
        try now { try decodeMaskedNow(latents, picture, mask, layout) }
    }

    /// Decodes one latent, and keeps `picture` where `mask` is 0; only for a model whose
    /// `info.takesMasks` is true, without tiles. Both have the size of the result. A mask has one
    /// channel: 1 where the model draws, 0 where it keeps, or any value between; in bytes, 255 is
    /// 1.
    ///
    /// - Throws: as `decode`.
    public func decodeMasked<Value, Kept, Mask, Pixel>(
        _ latents: Latents<Value>, picture: Picture<Kept>, mask: Picture<Mask>,
        as pixel: Pixel.Type = UInt8.self, layout: PixelLayout = .hwc
    ) async throws -> Picture<Pixel> {
        try await queued { try self.decodeMaskedNow(latents, picture, mask, layout) }
    }

    /// Encodes a batch of pictures of one size and layout: one latent per picture, with its width
    /// and height divided by `downscale`; each halving drops an odd last row or column, or keeps it
    /// if the model's `info.hasPosterior` is false. Such a model gives its latents for `.mode` and
    /// `.sample`, and has no `.moments`. `folded` scaled latents are those of FLUX.2: in patches.
    ///
    /// - Throws: `VaeklError`: `.invalidArgument` for a wrong size, `.model` without an encoder,
    ///   `.budget`, and others; `CancellationError` when `cancel()` stopped it.
    public func encode<Pixel, Value>(
        _ pictures: [Picture<Pixel>], posterior: Posterior = .mode, scale: LatentScale = .raw,
        folded: Bool = false, as value: Value.Type = Float.self
    ) throws -> Latents<Value> {
        try now { try encodeNow(pictures, posterior, scale, folded) }
    }

    /// Encodes a batch of pictures of one size and layout: one latent per picture, with its width
    /// and height divided by `downscale`; each halving drops an odd last row or column, or keeps it
    /// if the model's `info.hasPosterior` is false. Such a model gives its latents for `.mode` and
    /// `.sample`, and has no `.moments`. `folded` scaled latents are those of FLUX.2: in patches.
    ///
    /// - Throws: `VaeklError`: `.invalidArgument` for a wrong size, `.model` without an
    ///   encoder, `.budget`, and others; `CancellationError` when the task was cancelled
    ///   or `cancel()` stopped it.
    public func encode<Pixel, Value>(
        _ pictures: [Picture<Pixel>], posterior: Posterior = .mode, scale: LatentScale = .raw,
        folded: Bool = false, as value: Value.Type = Float.self
    ) async throws -> Latents<Value> {
        try await queued { try self.encodeNow(pictures, posterior, scale, folded) }
    }

    private func decodeNow<Value, Pixel>(
        _ latents: Latents<Value>, _ layout: PixelLayout
    ) throws -> [Picture<Pixel>] {
        let factor = model.info.factor(of: latents)
        return try latents.withView { latent in
            let batch = try PictureBatch<Pixel>(
                count: latents.batch, width: latents.width * factor,
                height: latents.height * factor,
                channels: model.info.imageChannels, layout: layout
            ) { images in
                _ = try check { vaekl_decode(handle, latent, images, $0) }
            }
            return batch.pictures
        }
    }

    private func decodeMaskedNow<Value, Kept, Mask, Pixel>(
        _ latents: Latents<Value>, _ picture: Picture<Kept>, _ mask: Picture<Mask>,
        _ layout: PixelLayout
    ) throws -> Picture<Pixel> {
        let (factor, channels) = (model.info.factor(of: latents), model.info.imageChannels)
        let picture = try PictureBatch(picture, channels: channels, name: "picture")
        let mask = try PictureBatch(mask, channels: 1, name: "mask")
        return try latents.withView { latent in
            try picture.withViews { picture in
                try mask.withViews { mask in
                    let batch = try PictureBatch<Pixel>(
                        count: 1, width: latents.width * factor, height: latents.height * factor,
                        channels: channels, layout: layout
                    ) { images in
                        _ = try check {
                            vaekl_decode_masked(handle, latent, picture, mask, images, $0)
                        }
                    }
                    return batch.pictures[0]
                }
            }
        }
    }

    private func encodeNow<Pixel, Value>(
        _ pictures: [Picture<Pixel>], _ posterior: Posterior, _ scale: LatentScale, _ folded: Bool
    ) throws -> Latents<Value> {
        let info = model.info
        let batch = try PictureBatch(pictures, channels: info.inputChannels)
        let patch = folded ? info.patchSize : 1
        let width = info.encodedLength(batch.width) / patch
        let height = info.encodedLength(batch.height) / patch
        if width == 0 || height == 0 {
            throw VaeklError.invalid(
                "pictures: \(info.downscale * patch) pixels a side or more expected, "
                    + "\(batch.width)x\(batch.height) found")
        }
        let channels = info.latentChannels * patch * patch * (posterior == .moments ? 2 : 1)
        return try batch.withViews { images in
            try Latents.filled(
                batch: images.count, channels: channels, height: height, width: width, scale: scale
            ) { latent in
                let (kind, seed) = posterior.c
                _ = try check { vaekl_encode(handle, images, kind, seed, latent, $0) }
            }
        }
    }
}

// MARK: - Turns

extension Session {
    /// Does a call on this thread.
    private func now<R>(_ call: Call = Call(), _ body: () throws -> R) throws -> R {
        try turns.enter(call)
        defer { turns.leave() }
        return try call.run(body)
    }

    /// Does a call on the session's queue.
    private func queued<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        let call = Call()
        return try await onQueue(for: call) { try self.now(call, body) }
    }

    /// Runs `body` on the session's queue, and stops `call` when the task is cancelled. Calls last
    /// for seconds: they must not hold one of the few threads that all tasks share.
    func onQueue<R: Sendable>(
        for call: Call, _ body: @escaping @Sendable () throws -> R
    ) async throws -> R {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                queue.async { continuation.resume(with: Result(catching: body)) }
            }
        } onCancel: {
            call.stop()
        }
    }
}
