internal import CVaekl

/// An open autoencoder: immutable, shared by any number of sessions, threads and tasks.
public final class Model: Sendable {
    // Unsafe for the compiler only: what a const vaekl_model points to may be used from several
    // threads.
    nonisolated(unsafe) let handle: OpaquePointer
    /// Properties of the model.
    public let info: Info
    /// The family: the name of diffusers' class, such as "AutoencoderTiny".
    public let family: String
    /// What tells the family, for a person: the class in a configuration, or a tensor.
    public let familySource: String
    /// What to tell the user of the model, a line each: guessed parts of the configuration, and
    /// weights that the configuration leaves out.
    public let notices: [String]
    /// Returns the memory that the model was opened from.
    private let deallocator: (@Sendable () -> Void)?

    /// Opens a checkpoint of any format: a file, a diffusers folder, or what the local cache of the
    /// Hugging Face hub has of "org/name". Files are mapped: do not change them while the model or
    /// a session of it exists.
    ///
    /// - Throws: `VaeklError` that names the file: `.io` when it cannot be read, `.format` when it
    ///   is no checkpoint or corrupt, `.model` when it makes no AutoencoderKL.
    public convenience init(path: String, options: Options = Options()) throws {
        try self.init(options: options, deallocator: nil) { options, handle, error in
            try withCString(path, "path") { vaekl_model_open($0, options, handle, error) }
        }
    }

    /// Opens a file of any format in memory, which is copied.
    ///
    /// - Throws: as `init(path:options:)`.
    public convenience init(bytes: [UInt8], options: Options = Options()) throws {
        // Not the array's own memory: nothing says that it stays where it is.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 64)
        copy.copyBytes(from: bytes)
        nonisolated(unsafe) let memory = copy
        try self.init(bytesNoCopy: UnsafeRawBufferPointer(copy), options: options) {
            memory.deallocate()
        }
    }

    /// Opens a file of any format in memory, which is borrowed: it must not change until
    /// `deallocator` is called. That happens when the model and all its sessions are gone, or at
    /// once if opening fails. For a mapped asset.
    ///
    /// - Throws: as `init(path:options:)`.
    public convenience init(
        bytesNoCopy bytes: UnsafeRawBufferPointer, options: Options = Options(),
        deallocator: @escaping @Sendable () -> Void
    ) throws {
        do {
            try self.init(options: options, deallocator: deallocator) { options, handle, error in
                vaekl_model_open_bytes(bytes.baseAddress, bytes.count, options, handle, error)
            }
        } catch {
            deallocator()
            throw error
        }
    }

    private init(
        options: Options, deallocator: (@Sendable () -> Void)?,
        open: (
            UnsafePointer<vaekl_model_options>, UnsafeMutablePointer<OpaquePointer?>,
            UnsafeMutablePointer<vaekl_error>
        ) throws -> vaekl_status
    ) throws {
        var model: OpaquePointer?
        try options.withC { options in
            _ = try check { try open(options, &model, $0) }
        }
        guard let model else { throw VaeklError(status: .internal, message: "no model was opened") }
        handle = model
        info = Info(of: model)
        family = String(cString: vaekl_model_family(model))
        familySource = String(cString: vaekl_model_family_source(model))
        notices = (0...).lazy.map { vaekl_model_notice(model, $0) }.prefix { $0 != nil }
            .map { String(cString: $0!) }
        self.deallocator = deallocator
    }

    deinit {
        // Sessions hold their model, so that none is left that could read the memory.
        vaekl_model_free(handle)
        deallocator?()
    }

    /// What a session with `options` needs to decode latents of this size, without doing it.
    ///
    /// - Throws: `VaeklError`, as the decode itself: `.budget` when it would not keep its budget.
    public func planDecode(
        latentWidth: Int, latentHeight: Int, options: Session.Options = Session.Options()
    ) throws -> Plan {
        let (width, height): (UInt32, UInt32) =
            (try unsigned(latentWidth, "latentWidth"), try unsigned(latentHeight, "latentHeight"))
        return try Plan { plan in
            try options.withC { options in
                try check { vaekl_plan_decode(handle, options, width, height, plan, $0) }
            }
        }
    }

    /// What a session with `options` needs to encode pictures of this size, without doing it.
    ///
    /// - Throws: as `planDecode`.
    public func planEncode(
        width: Int, height: Int, options: Session.Options = Session.Options()
    ) throws -> Plan {
        let (width, height): (UInt32, UInt32) = (
            try unsigned(width, "width"), try unsigned(height, "height"))
        return try Plan { plan in
            try options.withC { options in
                try check { vaekl_plan_encode(handle, options, width, height, plan, $0) }
            }
        }
    }
}

extension Model {
    /// Halves of an autoencoder.
    public struct Parts: OptionSet, Hashable, Sendable {
        /// The bits in vaekl.h.
        public let rawValue: UInt32

        /// The halves of these bits.
        public init(rawValue: UInt32) {
            self.rawValue = rawValue
        }

        /// The decoder: latents to pictures.
        public static let decoder = Parts(rawValue: VAEKL_PART_DECODER)
        /// The encoder: pictures to latents.
        public static let encoder = Parts(rawValue: VAEKL_PART_ENCODER)
    }

    /// Where a model runs.
    public enum Device: Hashable, Sendable {
        /// The CPU.
        case cpu
        /// An NVIDIA GPU: `.unsupported` in this version.
        case cuda(index: Int = 0)
    }

    /// Options for opening a model.
    public struct Options: Sendable {
        /// Where it runs.
        public var device: Device
        /// Halves to open. An error if the checkpoint lacks one.
        public var parts: Parts
        /// Type of packed weights; `.float32` is the only one in this version.
        public var weightDType: DType
        /// Path of a config.json to use; nil: the checkpoint's own, or inferred from shapes.
        public var configPath: String?
        /// Name of a published model: "sd", "sdxl", "sdxl-fp16-fix", "sd3", "flux",
        /// "playground-v2.5", "sd-x4-upscaler", "cogview4", "flux2", "asymmetric", "taesd",
        /// "taesdxl", "taesd3", "taef1", "taef2" or "taesana". Sets scaling, shift and latent
        /// statistics, which shapes do not tell, and overrides the configuration; nil: guessed if
        /// the checkpoint has no configuration.
        public var preset: String?
        /// Variant of a diffusers folder: "fp16" opens
        /// diffusion_pytorch_model.fp16.safetensors; nil: none.
        public var variant: String?
        /// Groups of each GroupNorm, for a checkpoint without a configuration; shapes do not tell
        /// it. nil: 32.
        public var normNumGroups: Int?
        /// Whether files are read, a layer at a time, instead of mapped. Files that the system
        /// cannot map are read in any case.
        public var disableMmap: Bool

        /// Makes options; arguments not given keep their defaults.
        public init(
            device: Device = .cpu, parts: Parts = [.decoder, .encoder],
            weightDType: DType = .float32, configPath: String? = nil, preset: String? = nil,
            variant: String? = nil, normNumGroups: Int? = nil, disableMmap: Bool = false
        ) {
            self.device = device
            self.parts = parts
            self.weightDType = weightDType
            self.configPath = configPath
            self.preset = preset
            self.variant = variant
            self.normNumGroups = normNumGroups
            self.disableMmap = disableMmap
        }

        func withC<R>(_ body: (UnsafePointer<vaekl_model_options>) throws -> R) throws -> R {
            var options = vaekl_model_options()
            try check { _ in
                vaekl_model_options_init(&options, MemoryLayout<vaekl_model_options>.size)
            }
            switch device {
            case .cpu: options.device = VAEKL_DEVICE_CPU
            case .cuda(let index):
                options.device = VAEKL_DEVICE_CUDA
                options.device_index = try unsigned(index, "options.device")
            }
            options.parts = parts.rawValue
            options.weight_dtype = weightDType.c
            options.norm_num_groups = try unsigned(normNumGroups ?? 0, "options.normNumGroups")
            options.disable_mmap = disableMmap ? 1 : 0
            return try withCString(configPath, "options.configPath") { configPath in
                try withCString(preset, "options.preset") { preset in
                    try withCString(variant, "options.variant") { variant in
                        options.config_path = configPath
                        options.preset = preset
                        options.variant = variant
                        return try body(&options)
                    }
                }
            }
        }
    }

    /// Properties of an open model.
    public struct Info: Hashable, Sendable {
        /// Channels of decoded pictures.
        public let imageChannels: Int
        /// Channels of pictures to encode.
        public let inputChannels: Int
        /// Channels of latents.
        public let latentChannels: Int
        /// Side of a picture in pixels divided by the side of its latent.
        public let downscale: Int
        /// Halves the model has.
        public let parts: Parts
        /// The factor by which `LatentScale.scaled` multiplies.
        public let scalingFactor: Float
        /// The offset that `LatentScale.scaled` subtracts before that; 0 if the model has none.
        public let shiftFactor: Float
        /// Size of the weights in bytes, in the checkpoint's types.
        public let weightBytes: UInt64
        /// Number of weights.
        public let parameters: UInt64
        /// Number of configuration fields that were guessed; 0 if the configuration was read.
        public let guessed: Int
        /// Whether the weights are mapped or in memory; otherwise they are read from their file, a
        /// layer at a time.
        public let mapped: Bool
        /// Number of tensors of the autoencoder that the configuration leaves out.
        public let unusedTensors: Int
        /// Whether `encode` gives a value of a posterior; otherwise it gives latents
        /// (AutoencoderTiny).
        public let hasPosterior: Bool
        /// Whether `decodeMasked` works (AsymmetricAutoencoderKL).
        public let takesMasks: Bool
        /// Side of the patches that scaled latents may be folded into: 2 for AutoencoderKLFlux2,
        /// otherwise 1.
        public let patchSize: Int

        init(of model: OpaquePointer) {
            var info = vaekl_model_info()
            info.struct_size = MemoryLayout<vaekl_model_info>.size
            _ = vaekl_model_get_info(model, &info) // fails for NULL and a wrong size only
            imageChannels = Int(info.image_channels)
            inputChannels = Int(info.input_channels)
            latentChannels = Int(info.latent_channels)
            downscale = Int(info.downscale)
            parts = Parts(rawValue: info.parts)
            scalingFactor = info.scaling_factor
            shiftFactor = info.shift_factor
            weightBytes = info.weight_bytes
            parameters = info.parameters
            guessed = Int(info.guessed)
            mapped = info.mapped != 0
            unusedTensors = Int(info.unused_tensors)
            hasPosterior = info.posterior != 0
            takesMasks = info.masks != 0
            patchSize = Int(info.patch_size)
        }

        /// Side of the latent of a picture's side: what is left over is dropped, or kept by a
        /// family without posterior.
        func encodedLength(_ length: Int) -> Int {
            let kept = !hasPosterior && length % downscale != 0
            return length / downscale + (kept ? 1 : 0)
        }

        /// Pixels of a picture's side per height or width of `latents`, which may be folded.
        func factor<Value>(of latents: Latents<Value>) -> Int {
            let folded =
                patchSize > 1 && latents.scale == .scaled
                && latents.channels == latentChannels * patchSize * patchSize
            return folded ? downscale * patchSize : downscale
        }
    }
}
