package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
)

const prefix = "SURVEYHOOKS_"

// fileSuffix marks the twin that names a file with the value in it, as orchestrators mount secrets.
const fileSuffix = "_FILE"

// twin is the environment variable of a setting: a flag that describes the installation, or how it is reached, and means the
// same in every verb that has it.
func twin(setting string) string {
	return prefix + strings.ToUpper(strings.NewReplacer("-", "_", " ", "_").Replace(setting))
}

// twinOf is the environment variable of a verb's flag. That of an argument of one act, such as a secret, a reason or --yes, has
// the verb in its name: what is exported for one act must not be given to the next.
func twinOf(cmd *cobra.Command, flag *pflag.Flag) string {
	if slices.Contains(settings(cmd.Root()), flag.Name) {
		return twin(flag.Name)
	}
	_, verb, _ := strings.Cut(cmd.CommandPath(), " ")
	return twin(strings.TrimSpace(verb + " " + flag.Name))
}

// settings are the flags of the installation: those of serve, those that every verb has, and those that say where a running
// serve is, and on which company's behalf it is asked.
func settings(root *cobra.Command) []string {
	names := []string{"api-url", "api-key", "company"}
	add := func(flag *pflag.Flag) { names = append(names, flag.Name) }
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(serveOptions).define(flags)
	new(app).sealKeysFlag(flags)
	flags.VisitAll(add)
	root.PersistentFlags().VisitAll(add)
	return names
}

// hasFileTwin reports whether the flag's value may come from a file: those that hold a password or a key, and what can
// change while serve runs.
func hasFileTwin(flag string) bool {
	return slices.Contains([]string{"database-url", "secret", "api-key", sealKeys, logLevel}, flag)
}

// fileOf is the file that set the flag, or "" when something else did.
func (a *app) fileOf(flag string) string {
	if a.sources[flag] != twin(flag)+fileSuffix {
		return ""
	}
	return a.lookup[twin(flag)+fileSuffix]
}

func hasTwin(flag *pflag.Flag) bool { return flag.Name != "help" }

// nameTwins shows every flag's variable in --help.
func nameTwins(root *cobra.Command) {
	name := func(cmd *cobra.Command, flag *pflag.Flag) {
		if hasTwin(flag) && !strings.Contains(flag.Usage, "[$"+prefix) {
			flag.Usage += " [$" + twinOf(cmd, flag)
			if hasFileTwin(flag.Name) {
				flag.Usage += ", or $" + twinOf(cmd, flag) + fileSuffix
			}
			flag.Usage += "]"
		}
	}
	everyCommand(root, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) { name(cmd, flag) })
		cmd.PersistentFlags().VisitAll(func(flag *pflag.Flag) { name(cmd, flag) })
	})
}

func everyCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, child := range cmd.Commands() {
		everyCommand(child, do)
	}
}

// variables are the names that may stand in the environment.
func variables(root *cobra.Command) []string {
	known := []string{prefix + "PG_BINDIR"} // package cluster reads it
	everyCommand(root, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if hasTwin(flag) {
				known = append(known, twinOf(cmd, flag))
			}
			if hasFileTwin(flag.Name) {
				known = append(known, twinOf(cmd, flag)+fileSuffix)
			}
		})
	})
	slices.Sort(known)
	return slices.Compact(known)
}

// bindEnvironment sets every flag that the command line did not. A variable that no flag has is refused: a typing
// error in a unit file must not run with a default.
func (a *app) bindEnvironment(cmd *cobra.Command) error {
	known := variables(cmd.Root())
	for name := range a.lookup {
		if strings.HasPrefix(name, prefix) && !slices.Contains(known, name) {
			if strings.HasPrefix(name, prefix+"SERVICE_") || strings.HasPrefix(name, prefix+"PORT") {
				return usage("unknown environment variable %s: Kubernetes sets it for a Service named surveyhooks; set enableServiceLinks: false in the pod", name)
			}
			return usage("unknown environment variable %s%s: every variable is in the --help of its command", name, meantVariable(name, known))
		}
	}
	var fault error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if fault != nil || flag.Changed || !hasTwin(flag) {
			return
		}
		fault = a.bindFlag(cmd, flag)
	})
	return fault
}

// meantVariable is the nearest variable in words, or, for the name of a flag alone, those that have a verb in it.
func meantVariable(name string, known []string) string {
	var scoped []string
	for _, candidate := range known {
		if strings.HasSuffix(candidate, "_"+strings.TrimPrefix(name, prefix)) {
			scoped = append(scoped, candidate)
		}
	}
	if len(scoped) > 0 {
		return " (an argument of one act has the verb in its name: " + strings.Join(scoped, ", ") + ")"
	}
	return spelling.DidYouMean(name, known)
}

func (a *app) bindFlag(cmd *cobra.Command, flag *pflag.Flag) error {
	name := twinOf(cmd, flag)
	value, ok := a.lookup[name]
	if path, given := a.lookup[name+fileSuffix]; given && hasFileTwin(flag.Name) {
		if ok {
			return usage("%s and %s are both set: want one of them", name, name+fileSuffix)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return usage("read %s: %w", name+fileSuffix, err)
		}
		name, value, ok = name+fileSuffix, strings.TrimSpace(string(content)), true
	}
	if !ok || value == "" {
		return nil // an empty variable is how unit files and compose files say "not set"
	}
	if err := cmd.Flags().Set(flag.Name, value); err != nil {
		return usage("read %s: %w", name, err)
	}
	a.sources[flag.Name] = name
	return nil
}

// source says where a flag's value came from.
func (a *app) source(flag *pflag.Flag) string {
	if name, ok := a.sources[flag.Name]; ok {
		return "environment " + name
	}
	if flag.Changed {
		return "flag"
	}
	return "default"
}
