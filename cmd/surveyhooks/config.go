package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// setting is one effective value of serve, and where it came from.
type setting struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Source   string `json:"source"`
	Variable string `json:"variable"`
}

func newConfigCommand(a *app) *cobra.Command {
	var o serveOptions
	show := &cobra.Command{
		Use:   "show",
		Short: "Print what serve would run with, and where each value comes from; secrets are masked",
		Example: `  surveyhooks config show
  SURVEYHOOKS_CONCURRENCY=4 surveyhooks config show -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var settings []setting
			cmd.Flags().VisitAll(func(flag *pflag.Flag) {
				if hasTwin(flag) {
					settings = append(settings, a.setting(flag))
				}
			})
			keys, err := a.keyring()
			if err != nil {
				return err
			}
			i := slices.IndexFunc(settings, func(s setting) bool { return s.Name == sealKeys })
			settings[i].Value = strings.Join(keys.IDs(), ",")
			if a.sealKeys == "" && keys.First() != "" {
				settings[i].Source = "key file of surveyhooks dev"
			}
			if a.databaseURL == "" {
				if dsn, ok := runningDevCluster(cmd.Context()); ok {
					i := slices.IndexFunc(settings, func(s setting) bool { return s.Name == "database-url" })
					settings[i].Value, settings[i].Source = maskDSN(asLogin(dsn, devRelay)), devSource
				}
			}
			slices.SortFunc(settings, func(x, y setting) int { return strings.Compare(x.Name, y.Name) })
			t := &table{head: []string{"NAME", "VALUE", "SOURCE"}}
			for _, s := range settings {
				t.add(s.Name, orDash(s.Value), s.Source)
			}
			if err := a.print(settings, t); err != nil {
				return err
			}
			return o.validate()
		},
	}
	o.define(show.Flags())
	a.sealKeysFlag(show.Flags())
	return group("config", "See what the flags and the environment make of it",
		`  surveyhooks config show
  surveyhooks config show -o json`, show)
}

func (a *app) setting(flag *pflag.Flag) setting {
	s := setting{Name: flag.Name, Value: flag.Value.String(), Source: a.source(flag), Variable: twin(flag.Name)}
	if flag.Name == "database-url" && s.Value != "" {
		s.Value = maskDSN(s.Value)
	}
	return s
}
