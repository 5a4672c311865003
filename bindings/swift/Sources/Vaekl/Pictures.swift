internal import CVaekl

/// A picture. Values are about [-1, 1], decoded ones not clamped; bytes are [0, 255].
public struct Picture<Pixel: PixelElement>: Hashable, Sendable {
    /// Pixels of a row.
    public var width: Int
    /// Rows.
    public var height: Int
    /// Channels, as many as the model's pictures have.
    public var channels: Int
    /// The order of `pixels`.
    public var layout: PixelLayout
    /// `width * height * channels` values without gaps.
    public var pixels: [Pixel]

    /// Makes a picture of these values. A number that does not fit the size is refused on use.
    public init(
        width: Int, height: Int, channels: Int = 3, layout: PixelLayout = .hwc, pixels: [Pixel]
    ) {
        self.width = width
        self.height = height
        self.channels = channels
        self.layout = layout
        self.pixels = pixels
    }
}

/// A batch of latents: `values` are batch x channels x height x width without gaps, as in torch.
public struct Latents<Value: LatentElement>: Hashable, Sendable {
    /// Latents, 1 or more.
    public var batch: Int
    /// Channels: those of the model, twice as many for moments. Scaled latents of a model with a
    /// `patchSize` p may be folded: p * p times as many, height and width divided by p.
    public var channels: Int
    /// Height: the picture's height divided by the model's `downscale`.
    public var height: Int
    /// Width: the picture's width divided by the model's `downscale`.
    public var width: Int
    /// Whether they are raw or scaled.
    public var scale: LatentScale
    /// All of them.
    public var values: [Value]

    /// Makes latents of these values. A number that does not fit the shape is refused on use.
    public init(
        batch: Int = 1, channels: Int, height: Int, width: Int, scale: LatentScale = .raw,
        values: [Value]
    ) {
        self.batch = batch
        self.channels = channels
        self.height = height
        self.width = width
        self.scale = scale
        self.values = values
    }

    /// Gives `body` the view that C takes.
    func withView<R>(_ body: (UnsafePointer<vaekl_latent>) throws -> R) throws -> R {
        let count = try product(batch, channels, height, width, of: "latents")
        if values.count != count {
            throw VaeklError.invalid(
                "latents.values: \(batch)x\(channels)x\(height)x\(width) = \(count) expected, "
                    + "\(values.count) found")
        }
        return try values.withUnsafeBufferPointer { values in
            // Read only: the library does not write to what it decodes.
            var view = makeView(of: UnsafeMutableRawPointer(mutating: values.baseAddress))
            return try body(&view)
        }
    }

    /// Latents of this shape, written by `body`.
    static func filled(
        batch: Int, channels: Int, height: Int, width: Int, scale: LatentScale,
        by body: (UnsafePointer<vaekl_latent>) throws -> Void
    ) throws -> Latents {
        let count = try product(batch, channels, height, width, of: "latents")
        var latents = Latents(
            batch: batch, channels: channels, height: height, width: width, scale: scale,
            values: [])
        latents.values = try Array(unsafeUninitializedCapacity: count) { values, initialized in
            var view = latents.makeView(of: values.baseAddress)
            try body(&view)
            initialized = count
        }
        return latents
    }

    /// Of sizes that are checked.
    private func makeView(of data: UnsafeMutableRawPointer?) -> vaekl_latent {
        vaekl_latent(
            data: data, batch: UInt32(batch), channels: UInt32(channels), height: UInt32(height),
            width: UInt32(width),
            dtype: Value.dtype.c, scale: scale.c)
    }
}

/// Pictures of one size, their values one after the other in memory.
struct PictureBatch<Pixel: PixelElement> {
    private let count: Int
    let width: Int
    let height: Int
    private let channels: Int
    private let layout: PixelLayout
    private var pixels: [Pixel] = []

    /// The values of one picture.
    private var stride: Int { width * height * channels }

    private init(
        shape count: Int, _ width: Int, _ height: Int, _ channels: Int, _ layout: PixelLayout
    ) throws {
        (self.count, self.width, self.height) = (count, width, height)
        (self.channels, self.layout) = (channels, layout)
        _ = try product(count, width, height, channels, of: "pictures")
    }

    /// One picture, called `name` in messages.
    init(_ picture: Picture<Pixel>, channels: Int, name: String) throws {
        try self.init([picture], channels: channels) { _ in name }
    }

    /// Pictures to encode, which all have the size and layout of the first.
    init(
        _ pictures: [Picture<Pixel>], channels: Int,
        name: (Int) -> String = { "pictures[\($0)]" }
    ) throws {
        guard let first = pictures.first else {
            throw VaeklError.invalid("pictures: 1 or more expected, 0 found")
        }
        try self.init(shape: pictures.count, first.width, first.height, channels, first.layout)
        for (index, picture) in pictures.enumerated() {
            let expected = "\(width)x\(height)x\(channels) \(layout)"
            let found = "\(picture.width)x\(picture.height)x\(picture.channels) \(picture.layout)"
            if found != expected {
                throw VaeklError.invalid("\(name(index)): \(expected) expected, \(found) found")
            }
            if picture.pixels.count != stride {
                throw VaeklError.invalid(
                    "\(name(index)).pixels: \(found) = \(stride) expected, "
                        + "\(picture.pixels.count) found")
            }
        }
        pixels = count == 1 ? first.pixels : pictures.flatMap(\.pixels)
    }

    /// Pictures that `body` decodes to.
    init(
        count: Int, width: Int, height: Int, channels: Int, layout: PixelLayout,
        by body: ([vaekl_image]) throws -> Void
    ) throws {
        try self.init(shape: count, width, height, channels, layout)
        let size = count * stride
        pixels = try Array(unsafeUninitializedCapacity: size) { pixels, initialized in
            try body(makeViews(of: pixels.baseAddress))
            initialized = size
        }
    }

    /// Gives `body` the views that C takes, one for each picture.
    func withViews<R>(_ body: ([vaekl_image]) throws -> R) throws -> R {
        try pixels.withUnsafeBufferPointer { pixels in
            // Read only: the library does not write to what it encodes.
            try body(makeViews(of: UnsafeMutablePointer(mutating: pixels.baseAddress)))
        }
    }

    private func makeViews(of data: UnsafeMutablePointer<Pixel>?) -> [vaekl_image] {
        (0..<count).map { index in
            vaekl_image(
                data: data.map { $0 + index * stride }, width: UInt32(width),
                height: UInt32(height),
                dtype: Pixel.dtype.c, layout: layout.c, row_stride: 0, plane_stride: 0)
        }
    }

    /// One by one.
    var pictures: [Picture<Pixel>] {
        (0..<count).map { index in
            let own = count == 1 ? pixels : Array(pixels[index * stride..<(index + 1) * stride])
            return Picture(
                width: width, height: height, channels: channels, layout: layout, pixels: own)
        }
    }
}
