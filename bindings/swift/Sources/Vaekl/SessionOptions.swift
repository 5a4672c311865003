internal import CVaekl

/// How a picture larger than a tile is worked on. `exact` never changes a bit of the result; the
/// other two are asked for, never chosen. Sizes are latent pixels.
public enum Tiling: Hashable, Sendable {
    /// The result of the whole picture in one piece.
    case exact
    /// The tiles and blends of diffusers. nil: the model's `sample_size`, and a quarter of the tile
    /// shared with each neighbour.
    case diffusers(tileSize: Int? = nil, tileOverlap: Int? = nil)
    /// Decoding in tiles that share the statistics of the whole picture: no seams, an error far
    /// below a step of 8 bits, twice the time or more. Encoding is exact. nil: the most that the
    /// budget has room for.
    case seamless(tileSize: Int? = nil)
}

/// How attention is computed. The two agree up to rounding.
public enum Attention: Hashable, Sendable {
    /// One pass over the keys with a running softmax.
    case streamed
    /// All scores of a few queries at a time, then their softmax.
    case rowByRow
}

extension Session {
    /// How far a call is, in units of work.
    public struct Progress: Hashable, Sendable {
        /// Units done.
        public let done: UInt64
        /// Units in all.
        public let total: UInt64

        /// 0 to 1.
        public var fraction: Double { Double(done) / Double(max(total, 1)) }
    }

    /// Told from time to time how far a call is, on the thread that does the call. A closure that
    /// throws stops the call, which then throws the same error. It must not use the session, but
    /// for `cancel()` and `memory`.
    public typealias OnProgress = @Sendable (Progress) throws -> Void

    /// How a session works.
    public struct Options: Sendable {
        /// Bytes that the process may have during a call, weights included; nil: no limit. A call
        /// that cannot keep it fails with `.budget` before any work. The result is the same bits
        /// with any budget.
        public var memoryBudget: Int?
        /// Threads; nil: physical cores.
        public var threads: Int?
        /// Storage between layers. `.float16` becomes `.float32` for a model whose `force_upcast`
        /// is set.
        public var activationDType: DType
        /// How large pictures are worked on.
        public var tiling: Tiling
        /// A folder where activations may go that the budget has no room for, in a file without a
        /// name.
        public var scratchDirectory: String?
        /// How attention is computed.
        public var attention: Attention
        /// One projection of query, key and value instead of three.
        public var fuseQKV: Bool
        /// Told how far a call is.
        public var onProgress: OnProgress?

        /// Defaults, but for what is given.
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
    /// Bytes of workspace. Exact: found by planning the real graph.
    public let workspaceBytes: UInt64
    /// Bytes on disk, 0 without a scratch directory.
    public let scratchBytes: UInt64
    /// An upper bound of the process's memory during the call: workspace, the weights that are
    /// resident at a time, and 16 MiB for the process itself. What the program holds, the result
    /// among it, comes to that.
    public let peakBytes: UInt64
    /// Tiles in a row, 1 when the picture is worked on whole.
    public let tilesX: Int
    /// Tiles in a column, likewise.
    public let tilesY: Int
    /// Latent pixels of a tile's side, 0 without tiles.
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
