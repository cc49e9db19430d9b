// Package samples holds receivers for customers to start from, one file each, in six languages.
//
// It owns their text. It promises that each verifies the signature over the bytes as they came, takes an event once,
// answers at once and works afterwards; the tests run each against the real relay. It serves nothing itself.
package samples

import (
	"embed"
	"fmt"
	"slices"
)

//go:embed express/receiver.mjs node/receiver.mjs go/main.go python/receiver.py php/receiver.php ruby/receiver.ru
var files embed.FS

// Where every sample listens, on this machine alone, unless PORT says otherwise.
const (
	Path = "/webhooks/chattosurvey"
	Addr = "127.0.0.1:3000"
)

// Sample is one receiver.
type Sample struct {
	Name string // the language, or its framework, in lower case: node
	File string // what to save it as: receiver.mjs
	Code string
}

// paths is where each sample stands, in the order in which they are shown.
func paths() []Sample {
	return []Sample{
		{Name: "express", File: "receiver.mjs"},
		{Name: "node", File: "receiver.mjs"},
		{Name: "go", File: "main.go"},
		{Name: "python", File: "receiver.py"},
		{Name: "php", File: "receiver.php"},
		{Name: "ruby", File: "receiver.ru"},
	}
}

// Names lists the samples.
func Names() []string {
	var names []string
	for _, s := range paths() {
		names = append(names, s.Name)
	}
	return names
}

// Get returns a sample by its name; the error lists the names that there are.
func Get(name string) (Sample, error) {
	all := paths()
	i := slices.IndexFunc(all, func(s Sample) bool { return s.Name == name })
	if i < 0 {
		return Sample{}, fmt.Errorf("no sample is called %q: want one of %q", name, Names())
	}
	sample := all[i]
	code, err := files.ReadFile(sample.Name + "/" + sample.File)
	if err != nil {
		return Sample{}, fmt.Errorf("read sample %s: %w", name, err) // never: it is embedded
	}
	sample.Code = string(code)
	return sample, nil
}
