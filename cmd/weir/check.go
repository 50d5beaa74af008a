package main

import (
	"fmt"
	"io"

	"weir/admin"
	"weir/conf"
	"weir/internal/cli"
	"weir/internal/engine"
)

// load reads a configuration, for a start or a check by conf.Load and for a reload by conf.LoadRegular, and looks for the
// files, programs and users that it names. It opens no socket. What is wrong has its place in the file.
func load(file string, read func(string) (*conf.Config, error)) (*conf.Config, error) {
	cfg, err := read(file)
	if err != nil {
		return nil, err
	}
	wrong := engine.Check(cfg)
	if err := admin.CheckToken(cfg.Admin.TokenFile); err != nil {
		wrong = append(wrong, cfg.KeyError("admin", "token_file", err))
	}
	if len(wrong) > 0 {
		return nil, cfg.SortErrors(wrong)
	}
	return cfg, nil
}

// check validates a file exactly as a start would.
func check(file string, stdout, stderr io.Writer) int {
	cfg, err := load(file, conf.Load)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return cli.ExitUsage
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	fmt.Fprintf(stdout, "%s: ok\n", file)
	return cli.ExitOK
}
