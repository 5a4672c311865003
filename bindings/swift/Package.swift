// swift-tools-version: 6.0

import PackageDescription

let package = Package(
    name: "vaekl",
    // The first systems that have Synchronization.Mutex.
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [.library(name: "Vaekl", targets: ["Vaekl"])],
    targets: [
        // The installed library, found by pkg-config; scripts/xcframework replaces this line.
        .systemLibrary(name: "CVaekl", pkgConfig: "vaekl"),
        .target(name: "Vaekl", dependencies: ["CVaekl"]),
        .testTarget(name: "VaeklTests", dependencies: ["Vaekl"]),
    ]
)
