//go:build unix

package vaekl_test

import (
	"os"
	"syscall"
	"testing"

	vaekl "libvaekl/bindings/go"
)

// Memory that is not Go's is no different: why go.mod asks for Go 1.22.
func TestModelFromAMappedFile(t *testing.T) {
	file, err := os.Open(weights)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := len(bytesOf(t, weights))
	data, err := syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(data)
	model, err := vaekl.OpenBytes(data, &vaekl.ModelOptions{NormNumGroups: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	session := newSession(t, model, nil)
	defer session.Close()
	decodesRight(t, session)
}
