package vaekl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's example is the body of Example, which is run.
func TestReadmeShowsTheExample(t *testing.T) {
	body := firstGroup(t, "example_test.go", `(?s)\nfunc Example\(\) \{\n(.*?)\n\t// Output:`)
	shown := firstGroup(t, "README.md", "(?s)\n```go\n(.*?)\n```\n")
	if lines := strings.ReplaceAll("\n"+body, "\n\t", "\n")[1:]; lines != shown {
		t.Errorf("the README shows\n%s\nand Example is\n%s", shown, lines)
	}
}

func firstGroup(t *testing.T, file, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, file))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern).FindSubmatch(text)
	if match == nil {
		t.Fatal(file, "has no", pattern)
	}
	return string(match[1])
}
