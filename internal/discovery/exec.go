package discovery

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"weir/checks"
	"weir/conf"
	"weir/internal/printable"
	"weir/internal/procgroup"
)

// program is a provider that runs a program, which prints a list of targets.
type program struct {
	path  string
	args  []string
	place Place

	repeated *repeated
}

// prepareExec finds the program.
func prepareExec(spec *conf.Discover) (func(Place) Provider, error) {
	if len(spec.Command) == 0 {
		return nil, checks.OptionError{Option: "command", Err: errors.New("no program")}
	}
	path, err := exec.LookPath(spec.Command[0])
	if err != nil {
		return nil, checks.OptionError{Option: "command", Err: err}
	}
	return func(at Place) Provider { return &program{path, spec.Command[1:], at, repeatedOf(spec, "")} }, nil
}

// maxErrors limits what a program may write to standard error, in bytes.
const maxErrors = 1 << 20

// Ask implements Provider. The program gets the environment of weir without its secrets, WEIR_CLUSTER and WEIR_LEVEL. It must
// end with exit code 0.
func (p *program) Ask(ctx context.Context) (Answer, error) {
	a, err := p.run(ctx)
	return p.repeated.remove(a, err)
}

func (p *program) run(ctx context.Context) (Answer, error) {
	cmd := procgroup.New(ctx, maxErrors, p.path, p.args...)
	cmd.Env = append(cmd.Env, "WEIR_CLUSTER="+p.place.Cluster, "WEIR_LEVEL="+p.place.Level)
	var out boundedBuffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return Answer{}, fmt.Errorf("run %s: %w", p.path, err)
	}
	err := cmd.Wait()
	detail := ""
	if line := cmd.FirstLine(); line != "" {
		detail = fmt.Sprintf(": %q", printable.Clip(line, printable.MaxQuote))
	}
	switch {
	case out.full:
		return Answer{}, fmt.Errorf("output larger than %d MB", maxAnswer>>20)
	case ctx.Err() != nil:
		return Answer{}, fmt.Errorf("killed%s: %w", detail, ctx.Err())
	case err != nil:
		return Answer{}, fmt.Errorf("%w%s", err, detail)
	}
	return parseTargets(out.text)
}

// boundedBuffer keeps up to maxAnswer bytes. A further write fails.
type boundedBuffer struct {
	text []byte
	full bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxAnswer {
		b.full = true
		return 0, errors.New("too much output")
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
