package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// newNginx measures the stream module of the installed nginx.
func newNginx() (product, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return product{}, fmt.Errorf("nginx: %w", err)
	}
	built, _ := exec.Command(path, "-V").CombinedOutput()
	module, err := streamModule(string(built))
	if err != nil {
		return product{}, err
	}
	return product{
		name:    "nginx",
		version: firstLine(path, "-v"),
		command: func(dir string, f forward) ([]string, error) {
			return nginxCommand(path, dir, "stream.conf", nginxStreamConfig(dir, module, f))
		},
	}, nil
}

// nginxCommand writes a configuration and returns the command that runs it with all its files in dir.
func nginxCommand(path, dir, name, config string) ([]string, error) {
	file := filepath.Join(dir, name)
	return []string{path, "-p", dir, "-e", file + ".log", "-c", file}, os.WriteFile(file, []byte(config), 0o600)
}

// streamModule finds, in what "nginx -V" prints, the file to load for the stream module; "" when it is built in.
func streamModule(built string) (string, error) {
	if regexp.MustCompile(`--with-stream(\s|$)`).MatchString(built) {
		return "", nil
	}
	dir := regexp.MustCompile(`--modules-path=(\S+)`).FindStringSubmatch(built)
	if dir == nil {
		return "", fmt.Errorf("nginx: built without the stream module")
	}
	file := filepath.Join(dir[1], "ngx_stream_module.so")
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("nginx: stream module is not installed: %w", err)
	}
	return file, nil
}

// nginxHead is the common part of the proxy and the web server.
func nginxHead(dir, name string, workers int) string {
	return fmt.Sprintf("daemon off;\nworker_processes %d;\nworker_rlimit_nofile 20000;\npid %s;\n"+
		"events { worker_connections 20000; }\n", workers, filepath.Join(dir, name+".pid"))
}

// nginxStreamConfig writes plain forwarding with one listening socket per worker.
func nginxStreamConfig(dir, module string, f forward) string {
	var b strings.Builder
	if module != "" {
		fmt.Fprintf(&b, "load_module %s;\n", module)
	}
	b.WriteString(nginxHead(dir, "stream", f.threads))
	b.WriteString("stream {\n    access_log off;\n    tcp_nodelay on;\n    upstream servers {\n")
	if f.methods != nil {
		fmt.Fprintf(&b, "        zone servers 64k;\n        %s;\n", f.methods.nginx) // one view for all workers
	}
	for _, server := range f.servers {
		fmt.Fprintf(&b, "        server %s max_fails=0;\n", server)
	}
	if f.udp {
		fmt.Fprintf(&b, "    }\n    server {\n        listen %s udp reuseport;\n        proxy_buffer_size 64k;\n        proxy_timeout 30s;\n", f.listen)
		if f.responses > 0 {
			fmt.Fprintf(&b, "        proxy_responses %d;\n", f.responses)
		}
		b.WriteString("        proxy_pass servers;\n    }\n}\n")
		return b.String()
	}
	fmt.Fprintf(&b, "    }\n    server {\n        listen %s reuseport backlog=4096;\n", f.listen)
	b.WriteString("        proxy_connect_timeout 5s;\n        proxy_timeout 10m;\n        proxy_buffer_size 16k;\n" +
		"        proxy_pass servers;\n    }\n}\n")
	return b.String()
}
