package discovery

// The JSON of Prometheus file_sd and http_sd: [{"targets": ["10.0.0.1:3306"], "labels": {"weight": "5"}}].

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"weir/internal/printable"
)

// parseTargets parses a list of target groups. Groups and targets that cannot be used are rejected one by one.
func parseTargets(text []byte) (a Answer, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return a, errors.New("empty; want a JSON list such as [{\"targets\": [\"10.0.0.1:3306\"]}]")
	}
	var groups []json.RawMessage
	if err := json.Unmarshal(text, &groups); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			err = fmt.Errorf("got %s", kind.Value)
		}
		return a, fmt.Errorf("want a JSON list such as [{\"targets\": [\"10.0.0.1:3306\"]}]: %s", printable.Clip(err.Error(), printable.MaxQuote))
	}
	for i, group := range groups {
		var g struct {
			Targets []json.RawMessage          `json:"targets"`
			Labels  map[string]json.RawMessage `json:"labels"`
		}
		if err := json.Unmarshal(group, &g); err != nil || bytes.Equal(bytes.TrimSpace(group), []byte("null")) {
			a.Reject(fmt.Sprintf("[%d]", i), "want an object with targets and labels")
			continue
		}
		labels, wrong := labelsOf(g.Labels)
		for j, raw := range g.Targets {
			var target string
			if json.Unmarshal(raw, &target) != nil || bytes.Equal(raw, []byte("null")) {
				a.Reject(fmt.Sprintf("[%d].targets[%d]", i, j), "want a string such as \"10.0.0.1:3306\", got %s", clipJSON(raw))
				continue
			}
			if wrong != "" {
				a.Reject(target, "label %s: want a string", wrong)
				continue
			}
			a.add(target, labels)
		}
	}
	return a, nil
}

// labelsOf returns the labels as texts, or the name of one that is neither a string nor a number.
func labelsOf(raw map[string]json.RawMessage) (labels map[string]string, wrong string) {
	labels = make(map[string]string, len(raw))
	for name, value := range raw {
		var text string
		var number json.Number
		switch {
		case bytes.Equal(value, []byte("null")):
			wrong = strconv.Quote(printable.Clip(name, printable.MaxQuote))
		case json.Unmarshal(value, &text) == nil:
			labels[name] = text
		case json.Unmarshal(value, &number) == nil:
			labels[name] = number.String()
		default:
			wrong = strconv.Quote(printable.Clip(name, printable.MaxQuote))
		}
	}
	return labels, wrong
}

func clipJSON(raw []byte) string {
	return printable.Clip(strings.TrimSpace(string(raw)), printable.MaxQuote)
}
