package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/samples"
)

// newSamplesCommand gives receivers away. It needs no database.
func newSamplesCommand(a *app) *cobra.Command {
	return group("samples", "Print a receiver to start from, in one of six languages; works offline",
		`  surveyhooks samples list
  surveyhooks samples print python > receiver.py`,
		newSamplesListCommand(a), newSamplesPrintCommand(a),
	)
}

func newSamplesListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the receivers",
		Example: `  surveyhooks samples list
  surveyhooks samples list -o json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				Name string `json:"name"`
				File string `json:"file"`
			}
			rows, t := []row{}, &table{head: []string{"NAME", "FILE"}}
			for _, name := range samples.Names() {
				sample, err := samples.Get(name)
				if err != nil {
					return err
				}
				rows = append(rows, row{sample.Name, sample.File})
				t.add(sample.Name, sample.File)
			}
			return a.print(rows, t)
		},
	}
}

func newSamplesPrintCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "print NAME",
		Short: "Print the code of a receiver",
		Example: `  surveyhooks samples print node > receiver.mjs
  surveyhooks samples print go > main.go`,
		Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			sample, err := samples.Get(args[0])
			if err != nil {
				return notFound("%w", err)
			}
			if _, err := fmt.Fprint(a.stdout, sample.Code); err != nil {
				return fmt.Errorf("write sample: %w", err)
			}
			return nil
		},
	}
}
