package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// webConfig makes nginx a web server that sends three bytes and closes. It never needs its temporary directories, but
// creates them: they are in the directory of the run's other files.
func webConfig(dir string, addresses []string, workers int) string {
	var b strings.Builder
	b.WriteString(nginxHead(dir, "web", workers))
	b.WriteString("http {\n    access_log off;\n    keepalive_timeout 0;\n")
	for _, use := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "    %s_temp_path %s;\n", use, filepath.Join(dir, use))
	}
	b.WriteString("    server {\n")
	for _, address := range addresses {
		fmt.Fprintf(&b, "        listen %s backlog=4096;\n", address)
	}
	b.WriteString("        location / { return 200 \"ok\\n\"; }\n    }\n}\n")
	return b.String()
}
