package convert

import (
	"fmt"
	"os"
	"strings"

	"weir/internal/nginxconf"
)

// Format is a kind of configuration that can be translated.
type Format string

const (
	FormatHAProxy Format = "haproxy"
	FormatNGINX   Format = "nginx"
)

// maxFile is the size of the longest file that is translated, in bytes.
const maxFile = 16 << 20

// Input is a configuration to translate.
type Input struct {
	Path string // its file, or "-" for Text
	Text string
}

// Convert reads a configuration and translates it. An empty format is found out from the text.
func Convert(in Input, format Format) (Result, error) {
	name := in.Path
	if name == "-" {
		name = "standard input"
	} else {
		info, err := os.Stat(in.Path)
		switch {
		case err != nil:
			return Result{}, err
		case info.Mode().IsRegular() && info.Size() > maxFile:
			return Result{}, fmt.Errorf("%s: longer than %d bytes", name, maxFile)
		case info.IsDir():
			return Result{}, fmt.Errorf("%s: is a directory", name)
		}
		text, err := os.ReadFile(in.Path)
		if err != nil {
			return Result{}, err
		}
		in.Text = string(text)
	}
	if len(in.Text) > maxFile {
		return Result{}, fmt.Errorf("%s: longer than %d bytes", name, maxFile)
	}
	if strings.TrimSpace(in.Text) == "" {
		return Result{}, fmt.Errorf("%s: %w", name, errEmpty)
	}
	if format == "" {
		format = detect(in.Text)
	}
	switch format {
	case FormatHAProxy:
		return HAProxy(name, in.Text)
	case FormatNGINX:
		list, err := nginxconf.Parse(name, in.Text)
		if err == nil && in.Path != "-" {
			list, err = nginxconf.ReadFile(in.Path)
		}
		if err != nil {
			return Result{}, err
		}
		return NGINX(name, list)
	}
	return Result{}, fmt.Errorf("unknown format %q: haproxy and nginx can be translated", format)
}

// detect returns the format of a text: statements of nginx end with a semicolon or a brace.
func detect(text string) Format {
	for _, l := range strings.Split(text, "\n") {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if i := strings.Index(l, " #"); i > 0 {
			l = strings.TrimSpace(l[:i])
		}
		if strings.HasSuffix(l, ";") || strings.HasSuffix(l, "{") {
			return FormatNGINX
		}
		for _, s := range sectionWords {
			if strings.Fields(l)[0] == s {
				return FormatHAProxy
			}
		}
	}
	return FormatHAProxy
}
