package admin

// The dashboard: one page with everything in it, so that it works without any other host, and so that a policy can name
// all that may run in it.

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"strings"
)

//go:embed web
var web embed.FS

// dashboardPage is the dashboard as it is sent.
type dashboardPage struct {
	html   []byte
	policy string // Content-Security-Policy
}

// scriptFiles are the parts of the page's script, in order.
func scriptFiles() []string {
	return []string{"dom", "format", "rates", "api", "clusters", "server", "main"}
}

func newDashboard() *dashboardPage {
	var script strings.Builder
	script.WriteString("\"use strict\";\n(() => {\n")
	for _, name := range scriptFiles() {
		script.WriteString(webFile(name + ".js"))
	}
	script.WriteString("})();\n")
	style := webFile("style.css")
	html := strings.Replace(webFile("index.html"), "/*style*/", style, 1)
	html = strings.Replace(html, "/*script*/", script.String(), 1)
	return &dashboardPage{html: []byte(html), policy: "default-src 'none'; connect-src 'self'; img-src data:; script-src " + cspHash(script.String()) +
		"; style-src " + cspHash(style) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

func webFile(name string) string {
	text, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(text)
}

// cspHash names a text in a policy (Content Security Policy Level 3, section 2.3.1).
func cspHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// write answers with the page. It holds nothing that is not in every weir: whoever is refused for want of a token is sent
// it with 401, and it asks for the token.
func (p *dashboardPage) write(w http.ResponseWriter, code int) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(code)
	w.Write(p.html)
}
