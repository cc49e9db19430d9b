package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/api"
)

// newManCommand writes what --help says as manual pages. Two runs of one build write the same bytes.
func newManCommand(a *app) *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the manual pages, one for each command, into a folder",
		Example: `  surveyhooks man --to /usr/local/share/man/man1
  surveyhooks man --to man && man man/surveyhooks-serve.1`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // manuals are everybody's
				return usage("--to: %w", err)
			}
			b := readBuild()
			built, err := time.Parse(time.RFC3339, b.Time)
			if err != nil {
				built = time.Unix(0, 0) // a build without its revision's time; cobra would write today's date
			}
			header := &doc.GenManHeader{Section: "1", Date: &built, Source: "surveyhooks " + b.Version, Manual: "surveyhooks"}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, header, folder); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			a.say("the manual pages are in %s: man %s/surveyhooks.1", folder, folder)
			return nil
		},
	}
	cmd.Flags().StringVar(&folder, "to", "", "the `folder`, made when it is not there")
	_ = cmd.MarkFlagRequired("to") // the flag is there
	return cmd
}

// newOpenAPICommand needs no running server, for those who make a client in a build.
func newOpenAPICommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the OpenAPI document of the HTTP API; works offline",
		Example: `  surveyhooks openapi > openapi.json
  surveyhooks openapi | jq '.paths | keys'`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			if _, err := a.stdout.Write(api.Document()); err != nil {
				return fmt.Errorf("write document: %w", err)
			}
			return nil
		},
	}
}
