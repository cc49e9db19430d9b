package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// The hidden verbs that make the program a child of a bench.
const (
	ReceiverVerb = "bench-receiver" // runs ServeReceiver on its standard streams
	RelayVerb    = "bench-relay"    // runs ServeRelay on its standard streams
)

// stopWithin is how long a child may take to end after its input did; a relay drains for less.
const stopWithin = 20 * time.Second

// child is a receiver or a relay: a process, or a goroutine where nothing has to be told apart. Its orders come as
// lines of JSON on its input, whose end is the order to stop; it answers with lines of JSON.
type child struct {
	pid   int // 0: a goroutine
	in    io.WriteCloser
	out   *bufio.Reader
	ended chan error
	kill  func()
}

// startChild runs serve, or, with a command, a process that does.
func startChild(ctx context.Context, command []string, verb string,
	serve func(context.Context, io.Reader, io.Writer) error,
) (*child, error) {
	if len(command) > 0 {
		return startProcess(command, verb)
	}
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends by its input, as a process would
	c := &child{in: inWrite, out: bufio.NewReader(outRead), ended: make(chan error, 1), kill: cancel}
	go func() {
		err := serve(ctx, inRead, outWrite)
		// Whoever waits for an answer learns that none comes, and a goroutine that reads the input ends.
		outWrite.CloseWithError(errors.Join(err, io.EOF))
		_ = inRead.CloseWithError(io.ErrClosedPipe)
		cancel()
		c.ended <- err
	}()
	return c, nil
}

func startProcess(command []string, verb string) (*child, error) {
	args := append(append([]string(nil), command[1:]...), verb)
	//nolint:gosec,noctx // the command is this program itself; it ends with its input, after what is under way
	cmd := exec.Command(command[0], args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("open input of %s: %w", verb, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", verb, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", verb, err)
	}
	c := &child{
		pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out), ended: make(chan error, 1),
		kill: func() { _ = cmd.Process.Kill() }, // it may be gone already
	}
	go func() { c.ended <- cmd.Wait() }()
	return c, nil
}

// tell sends an order.
func (c *child) tell(order any) error {
	if err := json.NewEncoder(c.in).Encode(order); err != nil {
		return fmt.Errorf("tell child: %w", err)
	}
	return nil
}

// hear waits for an answer. A child that ends without one is an error; a child that hangs is ended by ctx.
func (c *child) hear(ctx context.Context, answer any) error {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("hear from child: %w", errors.Join(ctx.Err(), err))
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("understand child: %w", err)
	}
	return nil
}

// stop ends the child and waits until it is gone.
func (c *child) stop() error {
	closeErr := c.in.Close()
	if errors.Is(closeErr, os.ErrClosed) {
		closeErr = nil // it has ended already
	}
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case err := <-c.ended:
		return errors.Join(closeErr, err)
	case <-timer.C:
		c.kill()
		return fmt.Errorf("stop child: still running after %s: killed: %w", stopWithin, <-c.ended)
	}
}

// orders reads a child's input.
type orders struct{ lines *json.Decoder }

// untilEOF returns a context that ends with the input.
func (o orders) untilEOF(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for {
			var ignored json.RawMessage
			if o.lines.Decode(&ignored) != nil {
				return
			}
		}
	}()
	return ctx, cancel
}
