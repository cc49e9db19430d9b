package main

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/egresstest"
)

func TestEgressFlagsReachTheRelay(t *testing.T) {
	t.Parallel()

	var o serveOptions
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.define(flags)
	require.NoError(t, flags.Parse([]string{
		"--allowed-ports=443,9443", "--own-hosts=API.own.example.,hooks.example", "--deny-addresses=8.8.8.8,2606:4700::/32",
		"--deny-addresses=::ffff:8.8.4.4", "--own-hosts=9.9.9.9", "--public-url=https://webhooks.example.com",
	}))
	require.NoError(t, o.validate())
	listener := netip.MustParseAddrPort("127.0.0.1:9090")
	cfg, err := o.relay("dbname=x", slog.New(slog.DiscardHandler), nil, net.TCPAddrFromAddrPort(listener))
	require.NoError(t, err)
	require.Equal(t, egress.Policy{
		Ports: []int{443, 9443}, Hosts: []string{"api.own.example", "hooks.example", "webhooks.example.com"},
		Deny: []netip.Prefix{
			netip.MustParsePrefix("9.9.9.9/32"), netip.MustParsePrefix("8.8.8.8/32"), netip.MustParsePrefix("2606:4700::/32"), netip.MustParsePrefix("8.8.4.4/32"),
		},
		Listeners: []netip.AddrPort{listener},
	}, cfg.Egress.Policy)
}

// TestB23_OurOwnURLIsRefusedAtTheCommandLine, by the variable that serve has it from, and only there.
func TestB23_OurOwnURLIsRefusedAtTheCommandLine(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	create := []string{"endpoints", "create", "--company", company, "--url", "https://webhooks.example.com/loop"}
	got := s.with("SURVEYHOOKS_PUBLIC_URL=https://webhooks.example.com").run(create...)
	require.Equal(t, exitUsage, got.code, got.stderr)
	made := s.object(create...)
	id, _ := made["id"].(string)
	got = s.with("SURVEYHOOKS_PUBLIC_URL=https://own.example.com").run("endpoints", "update", id, "--url", "https://own.example.com/loop")
	require.Equal(t, exitUsage, got.code, got.stderr)
}

// TestALinkOfThisMachineIsWarnedOf, since nobody else can follow it.
func TestALinkOfThisMachineIsWarnedOf(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	for _, link := range [][]string{{"portal", "link", "--operator", "grace"}, {"open", "--print"}} {
		got := s.run(link...)
		require.Equal(t, exitOK, got.code)
		require.Contains(t, got.stderr, "warning: no public URL is set")
		got = s.with("SURVEYHOOKS_PUBLIC_URL=https://webhooks.example.com").run(link...)
		require.NotContains(t, got.stderr, "warning")
		require.Contains(t, got.stdout, "https://webhooks.example.com/portal/")
	}
}

func TestEgressFlagsAreRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()

	nowhere := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=host=/nonexistent dbname=x"}}
	create := []string{"endpoints", "create", "--company", company, "--url", "https://example.com/"}
	for flag, want := range map[string]string{
		"--allowed-ports=70000":          "port 70000: want 1 to 65535",
		"--allowed-ports=https":          "invalid argument",
		"--own-hosts=https://a.example/": `host "https://a.example/": want a name`,
		"--deny-addresses=10.0.0.0/33":   `"10.0.0.0/33": want an address or a block`,
		"--deny-addresses=own.example":   `"own.example": want an address or a block`,
		"--deny-addresses=fe80::1%eth0":  "want",
	} {
		for _, command := range [][]string{{"serve"}, create} {
			got := nowhere.run(append(append([]string{}, command...), flag)...)
			require.Equal(t, exitUsage, got.code, "%s: %s", flag, got.stderr)
			require.Contains(t, got.stderr, want)
		}
	}
}

// The door of the command line: each kind of bad URL, what would be right, and nothing stored.
func TestBadURLIsRefusedAtTheCommandLine(t *testing.T) {
	t.Parallel()

	s := newShell(t).with("SURVEYHOOKS_OWN_HOSTS=own.example", "SURVEYHOOKS_DENY_ADDRESSES=8.8.8.8")
	for _, bad := range egresstest.BadURLs() {
		t.Run(bad.Name, func(t *testing.T) {
			t.Parallel()
			s, owner := shell{t, s.env}, uuid.NewString()
			got := s.run("endpoints", "create", "--company", owner, "--url", bad.URL, "-o", "json")
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, "endpoint is invalid: url: ")
			require.Contains(t, got.stderr, bad.Words)
			require.NotContains(t, got.stderr, "169.254", "the refusal does not repeat an address")
			require.Empty(t, s.list("endpoints", "list", "--company", owner))
		})
	}
}
