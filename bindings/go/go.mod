module libvaekl/bindings/go

// 1.22 is the first whose runtime.Pinner takes memory that is not Go's, as that of a mapped file.
go 1.22
