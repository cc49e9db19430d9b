package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// newHealthcheckCommand asks a running serve how it is: a container image without a shell has nothing else to ask with.
func newHealthcheckCommand(a *app) *cobra.Command {
	var addr string
	var ready bool
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the admin port of a running serve whether it lives, or is ready; for containers without curl",
		Example: `  surveyhooks healthcheck
  surveyhooks healthcheck --ready --admin-addr 127.0.0.1:9090`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/livez"
			if ready {
				path = "/readyz?verbose"
			}
			said, err := askAdmin(cmd.Context(), addr, path)
			if err != nil {
				return err
			}
			t := &table{}
			t.add(said)
			return a.print(map[string]string{"said": said}, t)
		},
	}
	cmd.Flags().StringVar(&addr, "admin-addr", "127.0.0.1:9090", "`address` of serve's admin port")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready for work, not only alive")
	return cmd
}

func askAdmin(ctx context.Context, addr, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, _, err := net.SplitHostPort(addr)
	request, badURL := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil || badURL != nil {
		return "", usage("--admin-addr is %q: want host:port such as 127.0.0.1:9090", addr)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", unavailable("ask serve: %w: does it run, with this --admin-addr?", err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // the status says it all
	said := strings.TrimSpace(string(text))
	if response.StatusCode != http.StatusOK {
		return "", &exitError{code: exitFailure, err: fmt.Errorf("serve answered %d: %s", response.StatusCode, oneLine(said))}
	}
	return said, nil
}
