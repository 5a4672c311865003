internal import CVaekl

/// The type of an element.
public enum DType: Sendable {
    /// IEEE 754 binary32.
    case float32
    /// IEEE 754 binary16.
    case float16
    /// bfloat16.
    case bfloat16
    /// Pictures only: [-1, 1] maps to [0, 255], clamped, rounded half to even.
    case uint8

    var c: vaekl_dtype {
        switch self {
        case .float32: VAEKL_DTYPE_F32
        case .float16: VAEKL_DTYPE_F16
        case .bfloat16: VAEKL_DTYPE_BF16
        case .uint8: VAEKL_DTYPE_U8
        }
    }
}

/// Types of a pixel's channel: `UInt8`, `Float`, `Float16` or `BFloat16`. Other types must not
/// conform.
public protocol PixelElement: BitwiseCopyable, Hashable, Sendable {
    /// The library's constant for this type.
    static var dtype: DType { get }
}

/// Types of a latent's value: `Float`, `Float16` or `BFloat16`. Other types must not conform.
public protocol LatentElement: PixelElement {}

extension UInt8: PixelElement {
    public static var dtype: DType { .uint8 }
}

extension Float: LatentElement {
    public static var dtype: DType { .float32 }
}

// Where Swift has the type: not on Macs with an Intel processor.
#if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
extension Float16: LatentElement {
    public static var dtype: DType { .float16 }
}
#endif

/// The upper half of a `Float`, for which Swift has no type of its own.
public struct BFloat16: LatentElement {
    /// Sign, 8 bits of exponent, 7 of fraction.
    public var bitPattern: UInt16

    /// The value of these bits.
    public init(bitPattern: UInt16) {
        self.bitPattern = bitPattern
    }

    /// The nearest value, half to even.
    public init(_ value: Float) {
        let bits = value.bitPattern
        if value.isNaN {
            bitPattern = UInt16(bits >> 16) | 0x40 // rounding might leave no bit of the fraction
        } else {
            bitPattern = UInt16((bits + 0x7fff + (bits >> 16 & 1)) >> 16)
        }
    }

    /// The value, exactly.
    public var float: Float { Float(bitPattern: UInt32(bitPattern) << 16) }

    public static var dtype: DType { .bfloat16 }
}

/// Order of the values of a picture.
public enum PixelLayout: Sendable {
    /// Interleaved: all channels of a pixel together.
    case hwc
    /// Planar: one plane per channel.
    case chw

    var c: vaekl_layout {
        switch self {
        case .hwc: VAEKL_LAYOUT_HWC
        case .chw: VAEKL_LAYOUT_CHW
        }
    }
}

/// Raw latents, or those of the diffusion model.
public enum LatentScale: Sendable {
    /// Latents as diffusers' `AutoencoderKL.decode` takes and `.encode` returns them.
    case raw
    /// Latents as the diffusion model uses them: scaling factor, shift and statistics are undone
    /// before decoding and applied after encoding.
    case scaled

    var c: UInt32 {
        switch self {
        case .raw: VAEKL_LATENT_RAW
        case .scaled: VAEKL_LATENT_SCALED
        }
    }
}

/// The value of the posterior that an encode returns.
public enum Posterior: Hashable, Sendable {
    /// The mean.
    case mode
    /// A sample: mean + std * N(0, 1), drawn from the seed for the whole batch as `torch.randn`
    /// does on a CPU.
    case sample(seed: UInt64)
    /// Mean and log-variance: twice as many channels, `LatentScale.raw` only.
    case moments

    var c: (kind: vaekl_posterior, seed: UInt64) {
        switch self {
        case .mode: (VAEKL_POSTERIOR_MODE, 0)
        case .sample(let seed): (VAEKL_POSTERIOR_SAMPLE, seed)
        case .moments: (VAEKL_POSTERIOR_MOMENTS, 0)
        }
    }
}

/// The loaded library.
public enum Library {
    /// Its version, such as "0.1.0".
    public static var version: String { String(cString: vaekl_version_string()) }

    /// Its version as numbers.
    public static var versionNumbers: (major: Int, minor: Int, patch: Int) {
        let version = Int(vaekl_version())
        return (version >> 16, version >> 8 & 0xff, version & 0xff)
    }

    /// Instruction set of new sessions: "avx512", "avx2" or "portable". The environment variable
    /// `VAEKL_CPU` can lower it; "invalid" if it names no level of this architecture.
    public static var cpuLevel: String { String(cString: vaekl_cpu_level()) }
}
