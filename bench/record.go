package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// record is the stored result of one run.
type record struct {
	Row     string    `json:"row"`
	Product string    `json:"product"`
	Round   int       `json:"round"` // from 1
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"` // of the whole run, start and stop of its processes included
	Values  values    `json:"values,omitempty"`
	Error   string    `json:"error,omitempty"` // why there are no values
	notes
}

// The files of a results directory.
const (
	runsFile    = "runs.jsonl"
	setupFile   = "setup.json"
	summaryFile = "summary.md"
)

// setup describes what was measured, where and how.
type setup struct {
	Date     time.Time         `json:"date"`
	Machine  machine           `json:"machine"`
	Products []string          `json:"products"` // in the order of the columns
	Versions map[string]string `json:"versions"`
	Tools    []string          `json:"tools"`
	Rounds   int               `json:"rounds"`
	Seconds  int               `json:"seconds"` // full window
	Threads  int               `json:"threads"` // of every proxy

	Congestion string `json:"congestion"` // TCP congestion control
}

// writeSetup writes a setup to dir.
func writeSetup(dir string, s setup) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, setupFile), append(text, '\n'), 0o644)
}

// readResults reads back what a results directory holds.
func readResults(dir string) (setup, []record, error) {
	var s setup
	text, err := os.ReadFile(filepath.Join(dir, setupFile))
	if err != nil {
		return s, nil, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, nil, fmt.Errorf("%s: %w", setupFile, err)
	}
	file, err := os.Open(filepath.Join(dir, runsFile))
	if err != nil {
		return s, nil, err
	}
	defer file.Close()
	records, err := readRecords(file)
	if err != nil {
		return s, nil, fmt.Errorf("%s: %w", runsFile, err)
	}
	return s, records, nil
}

// writeRecord adds one line.
func writeRecord(w io.Writer, r record) error {
	return json.NewEncoder(w).Encode(r)
}

// readRecords reads all lines.
func readRecords(r io.Reader) ([]record, error) {
	var records []record
	lines := json.NewDecoder(bufio.NewReader(r))
	for {
		var next record
		err := lines.Decode(&next)
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		records = append(records, next)
	}
}
