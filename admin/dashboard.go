package admin

// The dashboard: one self-contained HTML page, which needs no other host. Its Content-Security-Policy lists every script and
// style by hash; the charts set other styles only through the DOM, which the policy allows.

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"strings"
)

//go:embed web
var web embed.FS

// dashboardPage is the dashboard as sent to browsers.
type dashboardPage struct {
	html   []byte
	policy string // Content-Security-Policy
}

// scriptFiles returns the names of the script files, in order.
func scriptFiles() []string {
	return []string{"dom", "format", "rates", "api", "charts", "clusters", "server", "fleet", "main"}
}

func newDashboard() *dashboardPage {
	var script strings.Builder
	script.WriteString("\"use strict\";\n(() => {\n")
	for _, name := range scriptFiles() {
		script.WriteString(webFile(name + ".js"))
	}
	script.WriteString("})();\n")
	style, chartStyle, chartScript := webFile("style.css"), webFile("uplot/uPlot.min.css"), webFile("uplot/uPlot.iife.min.js")
	html := strings.NewReplacer("/*style*/", style, "/*script*/", script.String(), "/*uplot-style*/", chartStyle, "/*uplot-script*/", chartScript).Replace(webFile("index.html"))
	return &dashboardPage{html: []byte(html), policy: "default-src 'none'; connect-src 'self'; img-src data:; script-src " + cspHash(chartScript) + " " + cspHash(script.String()) +
		"; style-src " + cspHash(chartStyle) + " " + cspHash(style) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

func webFile(name string) string {
	text, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(text)
}

// cspHash returns the hash source of a text (Content Security Policy Level 3, section 2.3.1).
func cspHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// write sends the page. It contains no data of this weir, so that it can be sent with 401 to ask for the token.
func (p *dashboardPage) write(w http.ResponseWriter, code int) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(code)
	w.Write(p.html)
}
