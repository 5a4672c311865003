internal import CVaekl

/// Whether to split a picture that is larger than a tile. `exact` never changes a bit of the
/// result; the library never chooses the other two by itself. Sizes are in latent pixels.
public enum Tiling: Hashable, Sendable {
    /// No tiles: the result of the whole picture.
    case exact
    /// The overlapping, blended tiles of diffusers, with their seams. nil: the model's
    /// `sample_size`, and an overlap of a quarter of a tile.
    case diffusers(tileSize: Int? = nil, tileOverlap: Int? = nil)
    /// Decodes in tiles that share the statistics of the whole picture: no seams, an error far
    /// below one 8-bit step, at least twice the time. Encoding is exact. nil: the largest that fits
    /// the budget.
    case seamless(tileSize: Int? = nil)
}

/// The attention algorithm. Both give the same result up to rounding.
public enum Attention: Hashable, Sendable {
    /// One pass over the keys, with a running softmax.
    case streamed
    /// All scores of a few queries, then their softmax.
    case rowByRow
}

extension Session {
    /// Progress of a call, in units of work.
    public struct Progress: Hashable, Sendable {
        /// Units done.
        public let done: UInt64
        /// Units in all.
        public let total: UInt64

        /// 0 to 1.
        public var fraction: Double { Double(done) / Double(max(total, 1)) }
    }

    /// Called from time to time with the progress of a call, on the thread that runs it. If it
    /// throws, the call stops and throws the same error. It must not use the session, except for
    /// `cancel()` and `memory`.
    public typealias OnProgress = @Sendable (Progress) throws -> Void

    /// Options of a session.
    public struct Options: Sendable {
        /// Limit in bytes of what a call adds to the process's memory, weights included; nil: none.
        /// A call that does not fit fails with `.budget` before any work. The limit never changes a
        /// bit of the result.
        public var memoryBudget: Int?
        /// Number of threads; nil: one per physical core.
        public var threads: Int?
        /// Type of the activations between layers. `.float16` becomes `.float32` if the model sets
        /// `force_upcast`.
        public var activationDType: DType
        /// Tiling of large pictures.
        public var tiling: Tiling
        /// Folder for a nameless scratch file, to which activations are spilled that do not fit the
        /// budget.
        public var scratchDirectory: String?
        /// The attention algorithm.
        public var attention: Attention
        /// Whether to project query, key and value at once.
        public var fuseQKV: Bool
        /// Called with the progress of a call.
        public var onProgress: OnProgress?

        /// Makes options; arguments not given keep their defaults.
        public init(
            memoryBudget: Int? = nil, threads: Int? = nil, activationDType: DType = .float32,
            tiling: Tiling = .exact, scratchDirectory: String? = nil,
            attention: Attention = .streamed, fuseQKV: Bool = false,
            onProgress: OnProgress? = nil
        ) {
            self.memoryBudget = memoryBudget
            self.threads = threads
            self.activationDType = activationDType
            self.tiling = tiling
            self.scratchDirectory = scratchDirectory
            self.attention = attention
            self.fuseQKV = fuseQKV
            self.onProgress = onProgress
        }

        /// Without progress, which is the session's.
        func withC<R>(
            _ body: (UnsafeMutablePointer<vaekl_session_options>) throws -> R
        ) throws -> R {
            var options = vaekl_session_options()
            try check { _ in
                vaekl_session_options_init(&options, MemoryLayout<vaekl_session_options>.size)
            }
            options.memory_budget = try unsigned(memoryBudget ?? 0, "options.memoryBudget")
            options.threads = try unsigned(threads ?? 0, "options.threads")
            options.activation_dtype = activationDType.c
            options.attention =
                switch attention {
                case .streamed: VAEKL_ATTENTION_STREAMED
                case .rowByRow: VAEKL_ATTENTION_ROW_BY_ROW
                }
            options.fuse_qkv = fuseQKV ? 1 : 0
            switch tiling {
            case .exact:
                options.tiling = VAEKL_TILING_EXACT
            case .diffusers(let tileSize, let tileOverlap):
                options.tiling = VAEKL_TILING_DIFFUSERS
                options.tile_size = try unsigned(tileSize ?? 0, "options.tiling.tileSize")
                options.tile_overlap = try unsigned(tileOverlap ?? 0, "options.tiling.tileOverlap")
            case .seamless(let tileSize):
                options.tiling = VAEKL_TILING_SEAMLESS
                options.tile_size = try unsigned(tileSize ?? 0, "options.tiling.tileSize")
            }
            return try withCString(scratchDirectory, "options.scratchDirectory") { directory in
                options.scratch_dir = directory
                return try body(&options)
            }
        }
    }
}

/// What a call will need.
public struct Plan: Hashable, Sendable {
    /// Workspace in bytes. Exact: the call itself follows this plan.
    public let workspaceBytes: UInt64
    /// Scratch file in bytes; 0 without a scratch directory.
    public let scratchBytes: UInt64
    /// Upper bound in bytes of what the call adds to the process's memory: workspace, the weights
    /// resident at a time, threads, and the library's own lists and code. Memory of the program,
    /// including the result, is not included.
    public let peakBytes: UInt64
    /// Number of tiles in a row; 1 without tiles.
    public let tilesX: Int
    /// Number of tiles in a column; 1 without tiles.
    public let tilesY: Int
    /// Side of a tile in latent pixels; 0 without tiles.
    public let tileSize: Int
    /// Whether the result equals the untiled one.
    public let isExact: Bool

    /// The plan that `make` writes.
    init(_ make: (UnsafeMutablePointer<vaekl_plan>) throws -> vaekl_status) throws {
        var plan = vaekl_plan()
        plan.struct_size = MemoryLayout<vaekl_plan>.size
        _ = try make(&plan)
        workspaceBytes = plan.workspace_bytes
        scratchBytes = plan.scratch_bytes
        peakBytes = plan.peak_bytes
        tilesX = Int(plan.tiles_x)
        tilesY = Int(plan.tiles_y)
        tileSize = Int(plan.tile_size)
        isExact = plan.exact != 0
    }
}
