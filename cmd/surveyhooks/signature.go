package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// maxBody is how much of a request's body is read for its signature; what we send is far smaller.
const maxBody = 16 << 20

// newSignatureCommand makes the verbs for whoever writes a receiver. They need no database.
func newSignatureCommand(a *app) *cobra.Command {
	return group("signature", "Sign a request body, or say why a signature does not fit; works offline",
		`  surveyhooks signature sign --secret "$SECRET" --id test-1 --body body.json
  surveyhooks signature verify --secret "$SECRET" --id test-1 --timestamp 1709812800 --signature "$SIG" --body body.json`,
		newSignCommand(a), newVerifyCommand(a),
	)
}

// signedHeaders are the three headers of Standard Webhooks 1.0.0.
type signedHeaders struct {
	ID        string `json:"webhook-id"`
	Timestamp string `json:"webhook-timestamp"`
	Signature string `json:"webhook-signature"`
}

func newSignCommand(a *app) *cobra.Command {
	var secret, id, file string
	var timestamp int64
	cmd := &cobra.Command{
		Use:   "sign --secret whsec_… --id ID --body FILE|-",
		Short: "Print the headers that a request with this body would carry",
		Example: `  surveyhooks signature sign --secret "$SECRET" --id 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --body body.json
  SURVEYHOOKS_SIGNATURE_SIGN_SECRET_FILE=secret.txt surveyhooks signature sign --id test-1 --body - < body.json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			key, err := parseSecretFlag(secret)
			if err != nil {
				return err
			}
			if timestamp < 0 {
				return usage("--timestamp is %d: want Unix seconds, such as %d", timestamp, time.Now().Unix())
			}
			if timestamp == 0 {
				timestamp = time.Now().Unix()
			}
			body, err := a.readInput("--body", file, maxBody)
			if err != nil {
				return err
			}
			signer, err := sign.NewSigner(key)
			if err != nil {
				return usage("--secret: %w", err)
			}
			h := sign.Headers{
				ID: id, Timestamp: strconv.FormatInt(timestamp, 10),
				Signature: string(signer.AppendSignature(nil, id, timestamp, body)),
			}
			// What is printed has to be what a receiver accepts: an id with a dot, say, is signed by nobody.
			if err := sign.Verify(key, h, body, time.Unix(timestamp, 0)); err != nil {
				return usage("--id or --timestamp: %w", err)
			}
			t := &table{}
			t.add("webhook-id:", h.ID)
			t.add("webhook-timestamp:", h.Timestamp)
			t.add("webhook-signature:", h.Signature)
			return a.print(signedHeaders(h), t)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&secret, "secret", "", "the endpoint's signing `secret`, whsec_…")
	flags.StringVar(&id, "id", "", "the webhook-id: the event's `id`")
	flags.Int64Var(&timestamp, "timestamp", 0, "the webhook-timestamp, Unix `seconds` (default: now)")
	flags.StringVar(&file, "body", "", "the `file` with the request's body, byte by byte; - is standard input")
	required(cmd, "secret", "id", "body")
	return cmd
}

func newVerifyCommand(a *app) *cobra.Command {
	var secret, file string
	var h sign.Headers
	cmd := &cobra.Command{
		Use:   "verify --secret whsec_… --id ID --timestamp SECONDS --signature v1,… --body FILE|-",
		Short: "Check a request that was received, and say in words what is wrong with it",
		Example: `  surveyhooks signature verify --secret "$SECRET" --id test-1 --timestamp 1709812800 --signature "v1,K5oZ…=" --body body.json
  SURVEYHOOKS_SIGNATURE_VERIFY_SECRET_FILE=secret.txt surveyhooks signature verify --id test-1 --timestamp 1709812800 --signature "$SIG" --body -`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			key, err := parseSecretFlag(secret)
			if err != nil {
				return err
			}
			body, err := a.readInput("--body", file, maxBody)
			if err != nil {
				return err
			}
			if err := sign.Diagnose(key, h, body, time.Now()); err != nil {
				return &exitError{code: exitFailure, err: err}
			}
			t := &table{}
			t.add("valid", h.ID)
			return a.print(struct {
				Valid bool   `json:"valid"`
				ID    string `json:"id"`
			}{true, h.ID}, t)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&secret, "secret", "", "the endpoint's signing `secret`, whsec_…")
	flags.StringVar(&h.ID, "id", "", "the `value` of webhook-id")
	flags.StringVar(&h.Timestamp, "timestamp", "", "the `value` of webhook-timestamp")
	flags.StringVar(&h.Signature, "signature", "", "the `value` of webhook-signature, all of it")
	flags.StringVar(&file, "body", "", "the `file` with the body as it was received; - is standard input")
	required(cmd, "secret", "id", "timestamp", "signature", "body")
	return cmd
}

func parseSecretFlag(text string) (sign.Secret, error) {
	key, err := sign.ParseSecret(text)
	if err != nil {
		return sign.Secret{}, usage("--secret: %w", err)
	}
	return key, nil
}
