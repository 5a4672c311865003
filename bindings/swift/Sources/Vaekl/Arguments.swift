// From Swift's values to C's, checked: what does not fit is an error that names it.

/// `value` as the unsigned integer that C takes.
func unsigned<C: FixedWidthInteger & UnsignedInteger>(_ value: Int, _ name: String) throws -> C {
    guard let result = C(exactly: value) else {
        throw VaeklError.invalid("\(name): 0 to \(C.max) expected, \(value) found")
    }
    return result
}

/// The product of sizes, each 1 or more and within 32 bits.
func product(_ sizes: Int..., of name: String) throws -> Int {
    let text = { sizes.map(String.init).joined(separator: "x") }
    guard sizes.allSatisfy({ $0 >= 1 && $0 <= UInt32.max }) else {
        throw VaeklError.invalid(
            "\(name): sizes of 1 or more, in 32 bits, expected, \(text()) found")
    }
    return try sizes.reduce(1) { product, size in
        let (next, overflow) = product.multipliedReportingOverflow(by: size)
        if overflow {
            throw VaeklError.invalid("\(name): \(text()) values do not fit the address space")
        }
        return next
    }
}

/// Gives `body` the text as a C string, or nil for nil.
func withCString<R>(
    _ text: String?, _ name: String, _ body: (UnsafePointer<CChar>?) throws -> R
) throws -> R {
    guard let text else { return try body(nil) }
    if text.utf8.contains(0) {
        throw VaeklError.invalid("\(name): a text without NUL expected")
    }
    return try text.withCString(body)
}
